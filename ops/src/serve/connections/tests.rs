mod nodes;

use super::*;
use crate::{
    app::tests::in_memory,
    http::{
        join,
        surface::{Bound, Part, Routes, Surface, USUAL},
    },
};
use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    response::Response,
    routing::get,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// Far less than the upgraded connection lives.
const FIRST_BYTE_MS: u64 = 200;

static UPGRADES: Surface = Surface {
    prefixes: &["/up/"],
    first_byte: Bound {
        most: FIRST_BYTE_MS,
        name: "UP_FIRST_BYTE_MS",
    },
    ..USUAL
};

/// Speaks another protocol from here on: each byte comes back, one higher.
async fn climb(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        let mut byte = [0];
        while io.read_exact(&mut byte).await.is_ok() {
            // Longer than an answer may take to begin.
            tokio::time::sleep(Duration::from_millis(2 * FIRST_BYTE_MS)).await;
            io.write_all(&[byte[0] + 1]).await.unwrap();
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
    response.headers_mut().insert(header::UPGRADE, "climb".parse().unwrap());
    response
}

/// Asks for the upgrade; the status line, and the connection behind the head of the answer.
async fn upgrade(address: SocketAddr, token: &str) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /up/climb HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: upgrade\r\nUpgrade: climb\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).await.unwrap() > 0, "the connection ended: {head}");
    }
    (head.lines().next().unwrap_or_default().to_owned(), reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_passes_the_guard_and_outlives_it() {
    let (app, _stage) = in_memory().await;
    let token = app.token.expose().to_owned();
    let routes = Routes::new().route("/up/climb", get(climb));
    let router = join(
        app,
        vec![Part {
            surface: &UPGRADES,
            routes,
        }],
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (closing, is_closing) = watch::channel(false);
    let server = tokio::spawn(serve(Arc::new(listener), router, Doors::default(), is_closing));

    let (status, _) = upgrade(address, "wrong").await;
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    let (status, mut upgraded) = upgrade(address, &token).await;
    assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
    let mut byte = [0];
    for sent in [1, 7] {
        upgraded.get_mut().write_all(&[sent]).await.unwrap();
        upgraded.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte[0], sent + 1);
    }
    // Requests are waited for at the end, and this is none any more: whoever serves it looks at the node's stage.
    closing.send_replace(true);
    server.await.unwrap();
    upgraded.get_mut().write_all(&[8]).await.unwrap();
    upgraded.read_exact(&mut byte).await.unwrap();
    assert_eq!(byte[0], 9);
}
