use super::*;

#[test]
fn an_address_is_read_or_refused_without_its_secret() {
    let options: S3Options = "s3://key:s%2Fcret@bucket/a/b/?endpoint=http://127.0.0.1:9000&region=eu-1"
        .parse()
        .unwrap();
    assert_eq!(options.login, Some(("key".into(), "s/cret".into())));
    assert_eq!((options.bucket.as_str(), options.prefix.as_str()), ("bucket", "a/b"));
    assert_eq!(options.to_string(), "s3://bucket/a/b?endpoint=http://127.0.0.1:9000");
    let amazon: S3Options = "s3://bucket?region=eu-central-1&style=host".parse().unwrap();
    assert_eq!(amazon.endpoint.as_str(), "https://s3.eu-central-1.amazonaws.com/");
    assert!(amazon.in_host && amazon.login.is_none());
    for bad in [
        "s3://",
        "s3://key:secret@bucket?endpoint=ftp://h",
        "s3://key:secret@bucket?style=odd",
        "s3://key:secret@bucket?other=1",
        "s3://key@bucket",
    ] {
        let told = bad.parse::<S3Options>().unwrap_err().to_string();
        assert!(!told.contains("secret"), "{told}");
    }
}
