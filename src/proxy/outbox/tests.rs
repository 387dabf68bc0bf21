//! Over real connections, on a thread with an outbox.

use std::time::Duration;

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::audit::{Audit, Decision, Opening, Standing, Writer};

/// Runs a scene on a thread that has an outbox.
fn on_a_serving_thread<T>(scene: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        tokio::task::spawn_local(run());
        tokio::task::yield_now().await;
        let _crowd: Vec<_> = (0..CROWD).map(|_| under_way()).collect();
        scene.await
    })
}

async fn pair() -> (Tcp, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (Tcp::new(near.unwrap()), far.unwrap().0)
}

fn has_come(peer: &TcpStream) -> usize {
    std::thread::sleep(Duration::from_millis(5));
    let peer = socket2::SockRef::from(peer);
    peer.peek(&mut [std::mem::MaybeUninit::uninit(); 64]).unwrap_or(0)
}

#[test]
fn small_pieces_go_out_together_once_every_task_has_had_its_turn() {
    on_a_serving_thread(async {
        let ((mut one, its_peer), (mut other, others_peer)) = (pair().await, pair().await);
        one.write_all(b"one").await.unwrap();
        one.flush().await.unwrap();
        other.write_all(b"other").await.unwrap();
        other.write_all(b" piece").await.unwrap();
        assert_eq!((has_come(&its_peer), has_come(&others_peer)), (0, 0));
        tokio::task::yield_now().await;
        assert_eq!((has_come(&its_peer), has_come(&others_peer)), (3, 11));
    });
}

#[test]
fn with_few_requests_under_way_it_goes_out_at_once() {
    on_a_serving_thread(async {
        let (mut near, far) = pair().await;
        near.write_all(b"kept").await.unwrap();
        assert_eq!(has_come(&far), 0);
        let before = OUTBOX.with(|outbox| outbox.under_way.replace(CROWD - 1));
        near.write_all(b", then not").await.unwrap();
        assert_eq!(has_come(&far), 14);
        OUTBOX.with(|outbox| outbox.under_way.set(before));
    });
}

#[test]
fn without_an_outbox_and_when_it_is_long_it_goes_out_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut near, far) = pair().await;
        near.write_all(b"small").await.unwrap();
        assert_eq!(has_come(&far), 5);
    });
    on_a_serving_thread(async {
        let (mut near, mut far) = pair().await;
        near.write_all(b"small").await.unwrap();
        near.write_all(&[b'x'; KEPT + 1]).await.unwrap();
        let mut came = vec![0; 5 + KEPT + 1];
        far.read_exact(&mut came).await.unwrap();
        assert!(came.starts_with(b"smallxxx"));
    });
}

#[test]
fn what_is_kept_goes_out_before_the_end() {
    on_a_serving_thread(async {
        let (mut near, mut far) = pair().await;
        near.write_all(b"goodbye").await.unwrap();
        near.shutdown().await.unwrap();
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.unwrap();
        assert_eq!(came, b"goodbye");

        let (mut near, mut far) = pair().await;
        near.write_all(b"gone").await.unwrap();
        drop(near);
        came.clear();
        far.read_to_end(&mut came).await.unwrap();
        assert_eq!(came, b"gone");
    });
}

#[test]
fn a_peer_that_takes_nothing_stops_the_writer_and_loses_nothing() {
    on_a_serving_thread(async {
        let (mut near, mut far) = pair().await;
        let mut sent = Vec::new();
        for number in 0..u32::MAX {
            let piece = [number.to_le_bytes(); 256];
            let write = async {
                near.write_all(piece.as_flattened()).await.unwrap();
                near.flush().await.unwrap();
            };
            let stopped = tokio::time::timeout(Duration::from_millis(100), write).await.is_err();
            tokio::task::yield_now().await;
            if stopped {
                break;
            }
            sent.extend_from_slice(piece.as_flattened());
        }
        assert!(sent.len() < 100 << 20, "it never stopped");
        let mut came = vec![0; sent.len()];
        let (flushed, read) = tokio::join!(near.flush(), far.read_exact(&mut came));
        assert!(flushed.is_ok() && read.is_ok() && came == sent);
    });
}

#[test]
fn an_owner_is_told_of_a_peer_that_is_gone() {
    on_a_serving_thread(async {
        let (mut near, far) = pair().await;
        far.set_zero_linger().unwrap();
        drop(far);
        tokio::time::sleep(Duration::from_millis(20)).await;
        near.write_all(b"anybody there?").await.unwrap();
        tokio::task::yield_now().await;
        assert!(near.flush().await.is_err());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_written_arrives_whole_and_in_order(
        steps in proptest::collection::vec((0usize..6000, 1usize..6000, any::<bool>(), any::<bool>()), 1..60),
    ) {
        on_a_serving_thread(async {
            let (mut near, mut far) = pair().await;
            let written: Vec<u8> = (0..steps.iter().map(|step| step.0).sum::<usize>()).map(|n| (n % 251) as u8).collect();
            let reading = tokio::task::spawn_local(async move {
                let mut came = Vec::new();
                far.read_to_end(&mut came).await.unwrap();
                came
            });
            let mut rest = &written[..];
            for (length, pieces, flush, rests) in steps {
                let (piece, after) = rest.split_at(length);
                // As the library writes: several pieces, of which a part may be taken.
                let mut left = piece;
                while !left.is_empty() {
                    let pieces: Vec<_> = left.chunks(pieces).map(io::IoSlice::new).collect();
                    left = &left[near.write_vectored(&pieces).await.unwrap()..];
                }
                rest = after;
                if flush {
                    near.flush().await.unwrap();
                }
                if rests {
                    tokio::task::yield_now().await;
                }
            }
            near.shutdown().await.unwrap();
            assert!(reading.await.unwrap() == written);
        });
    }
}

/// A request that is under way, in this log.
async fn entry(audit: &Audit) -> Entry {
    let opening = Opening {
        id: ulid::Ulid::nil(),
        time: jiff::Timestamp::UNIX_EPOCH,
        began: std::time::Instant::now(),
        standing: Standing::SignedIn,
        account: Some("app"),
        key: None,
        subject: None,
        method: "GET",
        path: "/",
        query: None,
        resource: None,
        action: None,
        decision: Decision::Allow,
        reason: "shared",
        share: None,
        policy: "",
        stale: false,
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        user_agent: None,
        trace_id: None,
    };
    audit.open_entry(opening).await.unwrap()
}

#[test]
fn who_has_an_answer_finds_its_record_however_it_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = crate::settings::Audit::default();
    settings.journal.path = folder.path().to_owned();
    let audit = Audit::open(&settings, "one", Writer::Sidecar).unwrap();
    let records = || audit.stats().records;
    on_a_serving_thread(async {
        let ((mut near, far), (other, _others_peer)) = (pair().await, pair().await);
        complete(entry(&audit).await);
        assert_eq!(records(), 0);
        tokio::task::yield_now().await;
        assert_eq!(records(), 1, "at the end of the turn");
        complete(entry(&audit).await);
        near.write_all(&[b'x'; KEPT + 1]).await.unwrap();
        assert_eq!(records(), 2, "before a long piece");
        complete(entry(&audit).await);
        assert_eq!(near.write_vectored(&[io::IoSlice::new(&[b'x'; KEPT]), io::IoSlice::new(b"x")]).await.unwrap(), KEPT + 1);
        assert_eq!(records(), 3, "before several long pieces");
        complete(entry(&audit).await);
        drop(other);
        assert_eq!(records(), 4, "before a connection goes");
        complete(entry(&audit).await);
        near.shutdown().await.unwrap();
        assert_eq!(records(), 5, "before the end");
        drop(far);
        let before = OUTBOX.with(|outbox| outbox.under_way.replace(CROWD - 1));
        complete(entry(&audit).await);
        assert_eq!(records(), 6, "at once, where few are under way");
        OUTBOX.with(|outbox| outbox.under_way.set(before));
        complete(entry(&audit).await);
    });
    assert_eq!((records(), audit.stats().open_entries), (7, 0), "when the thread ends");
}
