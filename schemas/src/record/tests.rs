use super::*;

fn sample() -> EncodedRecord {
    let header = Header {
        stream: "acme/conversation/cnv_1".parse().unwrap(),
        first_version: 3,
        events: 1,
        reactions: 0,
        command_id: CommandId::parse("c-1").unwrap(),
        digest: Digest([1; 32]),
        time: 1_700_000_000_000,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        home: None,
        credential: None,
        acts_as: None,
        environment: None,
        data_class: DataClass::None,
        authority: 1,
        correlation: None,
        causation: None,
        traceparent: None,
        schema: 1,
        settlement: None,
        names: Vec::new(),
    };
    let event = StoredEvent {
        name: "quipu.test.happened.v1".into(),
        data: RawValue::from_string(r#"{"b":1,"a":2}"#.into()).unwrap(),
    };
    encode(&header, vec![event], vec![], Digest([9; 32])).unwrap()
}

#[test]
fn a_record_round_trips_and_its_bytes_never_change() {
    let encoded = sample();
    let record = decode(&encoded.bytes).unwrap();
    assert_eq!(record.previous, Digest([9; 32]));
    assert_eq!(record.hash, encoded.hash);
    assert_eq!(record.events[0].data.get(), r#"{"b":1,"a":2}"#);
    // Golden: a change here is a change of the stored form.
    assert_eq!(encoded.hash.to_string(), GOLDEN_HASH);
}
const GOLDEN_HASH: &str = "cce66a016682d24a8f30032a716875634baf2afe65660a27871d330ae8c969ae";

#[test]
fn every_bit_flip_is_detected() {
    let bytes = sample().bytes;
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        assert!(decode(&flipped).is_err(), "bit {at} flipped unnoticed");
    }
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err());
    }
}
