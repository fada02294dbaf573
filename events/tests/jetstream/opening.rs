//! What opens, and what is refused.

use super::*;

#[test]
fn a_log_opens_only_as_what_it_is() {
    let Some(nats) = start_or_skip(SINGLE, "opening logs on JetStream") else {
        return;
    };
    let good = options(&nats.url(), "opens", 3, 1);
    let log = open(&good);
    let meta = log.meta();
    assert_eq!((meta.partitions, meta.generation, meta.backend), (3, 1, "jetstream"));
    let again = open(&JetStreamOptions {
        log_id: Some(meta.log_id),
        ..good.clone()
    });
    assert_eq!(again.meta(), meta, "found again");
    let refused = |change: &dyn Fn(&mut JetStreamOptions)| {
        let mut options = good.clone();
        options.open = Duration::from_millis(300);
        change(&mut options);
        JetStreamLog::open(&options).err().expect("a refusal")
    };
    assert!(matches!(
        refused(&|o| o.partitions = 4),
        OpenError::Partitions { found: 3, asked: 4 }
    ));
    assert!(matches!(refused(&|o| o.log_id = Some(LogId([9; 16]))), OpenError::OtherLog { .. }));
    assert!(matches!(refused(&|o| o.prefix = "a.b".into()), OpenError::Options(_)));
    assert!(matches!(
        refused(&|o| o.servers = vec!["nats://127.0.0.1:1".into()]),
        OpenError::Unreachable { .. }
    ));
    let unsynced = refused(&|o| o.accept_unsynced = false).to_string();
    assert!(
        unsynced.contains("memory") && unsynced.contains("sync_interval: always"),
        "{unsynced}"
    );
    let undeclared = refused(&|o| (o.accept_unsynced, o.system) = (false, None)).to_string();
    assert!(undeclared.contains("nothing says when"), "{undeclared}");
    let declared = open(&JetStreamOptions {
        accept_unsynced: false,
        system: None,
        declared_sync: Some(SyncMode::Always),
        ..good.clone()
    });
    assert_eq!(declared.meta().durability, Durability::DeclaredFsync);
    let replicas = refused(&|o| (o.prefix, o.replicas) = ("three".into(), 3)).to_string();
    assert!(replicas.contains("QUIPU_three_P000"), "{replicas}");

    let api = |what: &str, body: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = client(&nats).await;
            let answer = client.request(format!("$JS.API.{what}"), body.to_owned().into()).await.unwrap();
            String::from_utf8_lossy(&answer.payload).into_owned()
        })
    };
    // Nothing can be deleted from a log's stream, as long as the stream is there.
    Owner::claim(&*log, 2).write(&*log, 1);
    assert!(api("STREAM.MSG.DELETE.QUIPU_opens_P002", r#"{"seq":1}"#).contains("not permitted"));
    assert!(api("STREAM.PURGE.QUIPU_opens_P002", "{}").contains("not permitted"));
    assert!(api("STREAM.DELETE.QUIPU_opens_P002", "").contains("\"success\":true"));
    let gone = refused(&|_| {}).to_string();
    assert!(gone.contains("QUIPU_opens_P002") && gone.contains("gone"), "{gone}");
    // A stream that would lose messages is none of a log's.
    let limited = r#"{"name":"QUIPU_limited_P000","subjects":["quipu.log.limited.000"],"max_age":1000000000}"#;
    assert!(!api("STREAM.CREATE.QUIPU_limited_P000", limited).contains("error"));
    assert!(matches!(
        refused(&|o| (o.prefix, o.partitions) = ("limited".into(), 1)),
        OpenError::Stream { .. }
    ));
}

#[test]
fn a_log_half_made_is_made_whole_and_many_may_make_it_at_once() {
    let Some(nats) = start_or_skip(SINGLE, "making logs on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "making", 16, 1);
    let ids: Vec<LogId> = thread::scope(|scope| {
        let opens: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&options).meta().log_id)).collect();
        opens.into_iter().map(|o| o.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "one log: {ids:?}");
}
