//! Both ends of real connections, and ends that are none.

use tokio::net::TcpListener;

use super::*;

fn key(seed: u8) -> Key {
    Key::of(&Seed([seed; 16]))
}

/// Both ends of a TCP connection.
async fn ends() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (connected, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

async fn shaken_hands() -> ((Reader, Writer), (Reader, Writer)) {
    let (one, other) = ends().await;
    let (one, other) = tokio::join!(connect(one, key(1)), accept(other, key(1)));
    (one.unwrap(), other.unwrap())
}

#[tokio::test]
async fn messages_of_any_size_arrive_in_both_directions_and_in_order() {
    let ((mut one_hears, mut one_says), (mut other_hears, mut other_says)) = shaken_hands().await;
    for length in [0, 1, 1000, MAX_PAYLOAD] {
        let message: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let (said, heard) = tokio::join!(one_says.write(&message), other_hears.read());
        said.unwrap();
        assert!(heard.unwrap() == message, "{length}");
        let (said, heard) = tokio::join!(other_says.write(&message), one_hears.read());
        said.unwrap();
        assert!(heard.unwrap() == message, "{length}");
    }
}

#[tokio::test]
async fn another_seed_is_turned_away_on_both_sides() {
    let (one, other) = ends().await;
    let (one, other) = tokio::join!(connect(one, key(1)), accept(other, key(2)));
    assert!(matches!(other, Err(SecureError::Key)));
    assert!(matches!(one, Err(SecureError::TurnedAway)));
}

#[tokio::test]
async fn whoever_does_not_greet_is_answered_nothing() {
    let (mut one, other) = ends().await;
    let (accepted, answer) = tokio::join!(accept(other, key(1)), async {
        one.write_all(
            b"GET / HTTP/1.1

",
        )
        .await
        .unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well: what was not read is thrown away with the connection.
        let _ = one.read_to_end(&mut answer).await;
        answer
    });
    assert!(matches!(accepted, Err(SecureError::Stranger)));
    assert_eq!(answer, [] as [u8; 0]);
}

#[tokio::test]
async fn another_version_is_named_on_both_sides() {
    let (one, mut other) = ends().await;
    let (connected, ()) = tokio::join!(connect(one, key(1)), async {
        other.write_all(b"sluice\xfe\x1d\x00\x09").await.unwrap();
    });
    assert!(matches!(connected, Err(SecureError::Version(9))));
    let (mut one, other) = ends().await;
    let (accepted, greeting) = tokio::join!(accept(other, key(1)), async {
        one.write_all(b"sluice\xfe\x1d\x00\x09").await.unwrap();
        let mut greeting = [0; GREETING.len()];
        one.read_exact(&mut greeting).await.unwrap();
        greeting
    });
    assert!(matches!(accepted, Err(SecureError::Version(9))));
    assert_eq!(greeting, GREETING);
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_not_waited_for() {
    let (_one, other) = ends().await;
    assert!(matches!(accept(other, key(1)).await, Err(SecureError::Slow)));
}

#[tokio::test]
async fn changed_and_repeated_messages_are_not_understood() {
    for change in [0, 1] {
        let ((_, mut says), (mut hears, _other)) = shaken_hands().await;
        says.write(b"something").await.unwrap();
        hears.read().await.unwrap();
        let mut frame = says.frame.clone();
        frame[2] ^= change;
        says.stream.write_all(&frame).await.unwrap();
        assert!(matches!(hears.read().await, Err(SecureError::Garbled)));
    }
}

#[tokio::test]
async fn frame_without_room_for_a_tag_is_not_understood() {
    let ((_, mut says), (mut hears, _other)) = shaken_hands().await;
    says.stream.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
    assert!(matches!(hears.read().await, Err(SecureError::Garbled)));
}
