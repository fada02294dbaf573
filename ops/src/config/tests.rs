use super::*;

fn load(file: &str, env: &[(&str, &str)], flags: Flags) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quipu.toml");
    fs::write(&path, file).unwrap();
    Config::from_layers(
        Some(&path),
        env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        flags,
    )
}

#[test]
fn later_layers_win_and_defaults_fill_the_rest() {
    let file = "listen = \"127.0.0.1:1\"\ndata = \"a\"\n[log]\npartitions = 4\n";
    let config = load(
        file,
        &[("QUIPU_LOG__PARTITIONS", "8"), ("QUIPU_DATA", "b"), ("QUIPU_URL", "http://x")],
        Flags::default(),
    )
    .unwrap();
    assert_eq!((config.partitions, config.data.as_deref()), (8, Some(Path::new("b"))));
    assert_eq!(config.listen.port(), 1);
    let flags = Flags {
        data: Some("c".into()),
        listen: Some("127.0.0.1:0".into()),
        ..Flags::default()
    };
    let config = load(file, &[("QUIPU_DATA", "b")], flags).unwrap();
    assert_eq!((config.data.as_deref(), config.listen.port()), (Some(Path::new("c")), 0));
    assert!(Config::in_memory().unwrap().data.is_none());
    let without_keys = Flags {
        without_keys: true,
        ..Flags::default()
    };
    let allows = |file: &str, flags| load(file, &[], flags).unwrap().allow_lost_keys;
    assert!(!allows("", Flags::default()) && allows("", without_keys) && allows("[keys]\nallow_lost = true", Flags::default()));
}

#[test]
fn unknown_keys_and_bad_values_name_the_key() {
    for (file, env, named) in [
        ("lisen = \"x\"", &[][..], "lisen"),
        ("lisen = \"x\"", &[], "did you mean `listen`?"),
        ("[log]\npartition = 4", &[], "partition"),
        ("[log]\npartition = 4", &[], "did you mean `partitions`?"),
        ("", &[("QUIPU_LOGS__PARTITIONS", "8")][..], "QUIPU_LOGS__PARTITIONS"),
        ("", &[("QUIPU_PORT", "8080")], "QUIPU_PORT"),
        ("", &[("QUIPU_Log__Partition", "8")], "QUIPU_Log__Partition"),
        ("", &[("QUIPU_LOG__PARTITIONS", "many")], "QUIPU_LOG__PARTITIONS"),
        ("[shutdown]\ndelay_ms = 99999999", &[], "shutdown.delay_ms"),
        ("[log]\npartitions = \"many\"", &[], "partitions"),
        ("[log]\npartitions = 0", &[], "log.partitions"),
        ("[log]\nbackend = \"tape\"", &[], "log.backend"),
        ("[views]\nstore = \"tape\"", &[], "views.store"),
        ("[bus]\nurl = \"tape\"", &[], "bus.url"),
        ("[bus]\nurl = \"env:NOT_SET\"", &[], "bus.url"),
        ("[bus]\nfeed_days = 0", &[], "bus.feed_days"),
        ("[views]\nstore = \"env:NOT_SET\"", &[], "views.store"),
        ("listen = \"here\"", &[], "listen"),
        ("origins = [\"example.com\"]", &[], "origins"),
        ("[egress]\nallow = [\"localhost\"]", &[], "egress.allow"),
        ("[secrets]\nk = \"env:NOT_SET\"", &[], "secrets.k"),
        (
            "[providers.p]\nkind = \"openai\"\nbase_url = \"https://x/v1\"\napi_key = \"missing\"",
            &[],
            "providers.p.api_key",
        ),
        ("[providers.p]\nkind = \"other\"", &[], "providers.p"),
        ("[logging]\nformat = \"xml\"", &[], "logging.format"),
    ] {
        let error = load(file, env, Flags::default()).unwrap_err().to_string();
        assert!(error.contains(named), "{file} {env:?}: {error}");
    }
    assert!(matches!(
        Config::from_layers(Some(Path::new("/nonexistent.toml")), BTreeMap::new(), Flags::default()),
        Err(ConfigError::File(..))
    ));
}

#[test]
fn what_kubernetes_says_of_services_is_passed_over() {
    let of_services = [
        ("QUIPU_SERVICE_HOST", "10.96.12.7"),
        ("QUIPU_SERVICE_PORT", "7077"),
        ("QUIPU_SERVICE_PORT_HTTP", "7077"),
        ("QUIPU_PORT", "tcp://10.96.12.7:7077"),
        ("QUIPU_PORT_7077_TCP", "tcp://10.96.12.7:7077"),
        ("QUIPU_PORT_7077_TCP_PROTO", "tcp"),
        ("QUIPU_PORT_7077_TCP_PORT", "7077"),
        ("QUIPU_PORT_7077_TCP_ADDR", "10.96.12.7"),
        ("QUIPU_NODES_SERVICE_HOST", "10.96.12.8"),
        ("QUIPU_NODES_PORT", "udp://10.96.12.8:1"),
        ("QUIPU_NODES_PORT_1_UDP_ADDR", "10.96.12.8"),
    ];
    load("", &of_services, Flags::default()).unwrap();
    for ours in [
        "QUIPU_PORTS",
        "QUIPU_PORT_X",
        "QUIPU_PORT_7077",
        "QUIPU_SERVICE",
        "QUIPU_LOG__SERVICE_HOST",
    ] {
        let error = load("", &[(ours, "1")], Flags::default()).unwrap_err().to_string();
        assert!(error.contains(ours), "{ours}: {error}");
    }
}

#[test]
fn texts_are_taken_whatever_they_look_like() {
    let env = [
        ("QUIPU_DATA", "2024"),
        ("QUIPU_SECRETS__CLUSTER", "0123"),
        ("QUIPU_CLUSTER__SECRET", "cluster"),
        ("QUIPU_LOGGING__LEVEL", "true"),
    ];
    let config = load("", &env, Flags::default()).unwrap();
    assert_eq!(config.data.as_deref(), Some(Path::new("2024")));
    assert_eq!(config.cluster.token.as_deref(), Some("0123"));
    assert_eq!(config.log_level, "true");
    let named_by_number = [("QUIPU_SECRETS__1234", "1.50"), ("QUIPU_CLUSTER__SECRET", "1234")];
    let config = load("", &named_by_number, Flags::default()).unwrap();
    assert_eq!(config.cluster.token.as_deref(), Some("1.50"));
    let several = [("QUIPU_SECRETS__HOOK", "[\"a\", \"b\"]")];
    assert_eq!(
        load("", &several, Flags::default())
            .unwrap()
            .secrets
            .platform("hook")
            .unwrap()
            .expose(),
        "a"
    );
    let flags = Flags {
        set: vec![("data".into(), "[1]".into()), ("log.partitions".into(), "4".into())],
        ..Flags::default()
    };
    let config = load("", &[], flags).unwrap();
    assert_eq!((config.data.as_deref(), config.partitions), (Some(Path::new("[1]")), 4));
}

#[test]
fn secrets_are_resolved_for_performers_and_redacted_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, "from-file\n").unwrap();
    let file = format!(
        "[secrets]\na = \"literal\"\nb = \"env:KEY\"\nc = \"file:{}\"\n\"acme/hook\" = [\"new-one\", \"old-one\"]",
        path.display()
    );
    let config = load(&file, &[("KEY", "from-env")], Flags::default()).unwrap();
    for (name, value) in [("a", "literal"), ("b", "from-env"), ("c", "from-file")] {
        assert_eq!(config.secrets.platform(name).unwrap().expose(), value);
    }
    let shown = format!("{} {config:?}", config.effective());
    for value in ["literal", "from-env", "from-file", "new-one", "old-one"] {
        assert!(!shown.contains(value), "{shown}");
    }
    assert!(shown.contains("env:KEY"));
}

#[test]
fn an_openai_provider_comes_from_the_environment_alone() {
    let config = load("", &[("OPENAI_API_KEY", "sk-1")], Flags::default()).unwrap();
    let Some(ProviderConfig::OpenAi(openai)) = config.providers.get("openai") else {
        panic!("{:?}", config.providers)
    };
    assert_eq!(openai.base_url, "https://api.openai.com/v1");
    assert_eq!(
        config.secrets.platform(openai.api_key.as_deref().unwrap()).unwrap().expose(),
        "sk-1"
    );
    let config = load("", &[("QUIPU_OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")], Flags::default()).unwrap();
    let Some(ProviderConfig::OpenAi(openai)) = config.providers.get("openai") else {
        panic!("{:?}", config.providers)
    };
    assert_eq!((openai.base_url.as_str(), &openai.api_key), ("http://127.0.0.1:11434/v1", &None));
    assert_eq!(config.egress_allow, ["127.0.0.1:11434"]);
}

/// Leaves of a configuration by dotted key.
fn leaves(prefix: &str, value: &serde_json::Value, out: &mut Vec<(String, String)>) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let key = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                leaves(&key, value, out);
            }
        }
        _ => out.push((prefix.to_owned(), value.to_string())),
    }
}

#[test]
fn the_reference_names_every_key_with_its_default_and_variable() {
    let reference = include_str!("../../docs/configuration.md");
    let mut keys = Vec::new();
    leaves("", &serde_json::to_value(ConfigLayers::default()).unwrap(), &mut keys);
    assert!(keys.len() >= 16, "{keys:?}");
    for (key, default) in keys {
        let row = format!("| `{key}` | `{default}` | ");
        let at = reference
            .find(&row)
            .unwrap_or_else(|| panic!("ops/docs/configuration.md has no row {row}"));
        let rest = reference[at + row.len()..].lines().next().unwrap();
        let variable = format!("`QUIPU_{}`", key.to_uppercase().replace('.', "__"));
        // Tables with names of their own choice are no matter of one variable.
        assert!(
            rest.starts_with(&variable) || matches!(key.as_str(), "providers" | "secrets"),
            "{key}: {rest}"
        );
    }
    let config = load("", &[("QUIPU_OPENAI_BASE_URL", "http://127.0.0.1:1/v1")], Flags::default()).unwrap();
    let Some(ProviderConfig::OpenAi(openai)) = config.providers.get("openai") else {
        panic!("{:?}", config.providers)
    };
    let shown = format!("{openai:?}");
    let fields: Vec<_> = shown
        .split_once('{')
        .unwrap()
        .1
        .split(", ")
        .filter_map(|field| field.split_once(": "))
        .collect();
    assert_eq!(fields.len(), 7, "{shown}");
    for (field, _) in fields {
        assert!(reference.contains(&format!("| `{}` | ", field.trim())), "{field}");
    }
    for variable in OTHER_ENV.iter().chain([&OPENAI_API_KEY]) {
        assert!(reference.contains(&format!("`{variable}`")), "{variable}");
    }
}
