//! The pages on which a person lets a device in: plain HTML without scripts, which nothing frames and which send what is typed to this
//! node alone.

use super::page::{escaped, page};
use axum::{http::StatusCode, response::Response};
use std::fmt::Write;

const ADDRESS: &str = "/oauth/device";

fn alert(problem: &str) -> String {
    format!("<p class=\"problem\" role=\"alert\">{}</p>", escaped(problem))
}

/// Asks for the code and for who somebody is.
pub(super) fn sign_in(status: StatusCode, problem: Option<&str>, user_code: &str, address: &str) -> Response {
    let mut body = String::from(
        "<h1>Connect a device</h1><p>Type the code that your device shows. Type it only if you started this yourself, on a device \
         that you have before you: whoever sent you a code could act for you.</p>",
    );
    body.push_str(&problem.map(alert).unwrap_or_default());
    let _ = write!(
        body,
        "<form method=\"post\" action=\"{ADDRESS}\">\
         <label>Code<input name=\"user_code\" type=\"text\" autocomplete=\"off\" autocapitalize=\"characters\" spellcheck=\"false\" value=\"{}\"></label>\
         <label>Address<input name=\"address\" type=\"text\" autocomplete=\"username\" value=\"{}\"></label>\
         <label>Password<input name=\"password\" type=\"password\" autocomplete=\"current-password\"></label>\
         <label>Code of your authenticator, if you use one<input name=\"totp\" inputmode=\"numeric\" autocomplete=\"one-time-code\"></label>\
         <p><button>Sign in and see who asks</button></p></form>",
        escaped(user_code),
        escaped(address)
    );
    page(status, "Connect a device", &body, None)
}

/// What a person sees before they answer.
pub(super) struct Confirm<'a> {
    /// The client's display name.
    pub(super) client: &'a str,
    /// The org that it belongs to; none, where it is this node's own.
    pub(super) org: Option<&'a str>,
    /// What it asks for, in words of rights; everything where it is empty.
    pub(super) wants: String,
    /// The network that the device asked from.
    pub(super) network: Option<&'a str>,
    /// Whether the person is in the same one.
    pub(super) is_near: bool,
    /// What proves that they signed in.
    pub(super) ticket: &'a str,
}

/// Asks a person to let a device in.
pub(super) fn confirm(shown: &Confirm<'_>) -> Response {
    let mut body = format!("<h1>Let this device in?</h1><p><strong>{}</strong>", escaped(shown.client));
    match shown.org {
        Some(org) => {
            let _ = write!(body, ", an application of <strong>{}</strong>,", escaped(org));
        }
        None => body.push_str(", this node's own program,"),
    }
    let from = shown.network.unwrap_or("an unknown network");
    let _ = write!(
        body,
        " asks to act for you. The request came from <code>{}</code>.</p>",
        escaped(from)
    );
    if !shown.is_near {
        body.push_str(&alert(
            "That is another network than yours. If your device is where you are, somebody else may have started this: deny it.",
        ));
    }
    if shown.wants.is_empty() {
        body.push_str("<p>It asks for <strong>everything that you may</strong>.</p>");
    } else {
        body.push_str("<p>It asks for:</p><ul>");
        for want in shown.wants.split(' ') {
            let _ = write!(body, "<li><code>{}</code></li>", escaped(want));
        }
        body.push_str("</ul>");
    }
    let _ = write!(
        body,
        "<form method=\"post\" action=\"{ADDRESS}\"><input type=\"hidden\" name=\"ticket\" value=\"{}\">\
         <p><button name=\"decision\" value=\"deny\">Deny</button>\
         <button name=\"decision\" value=\"allow\">Let it in</button></p></form>",
        escaped(shown.ticket)
    );
    page(StatusCode::OK, "Let this device in?", &body, None)
}

/// Says that it is done.
pub(super) fn done(is_allowed: bool) -> Response {
    let said = if is_allowed {
        "The device is let in. You can close this page; your device goes on by itself."
    } else {
        "The device was refused. You can close this page."
    };
    page(StatusCode::OK, "Done", &format!("<h1>Done</h1><p>{said}</p>"), None)
}

/// Says that nothing was done.
pub(super) fn over(status: StatusCode, detail: &str) -> Response {
    let body = format!(
        "<h1>Nothing was done</h1>{}<p><a href=\"{ADDRESS}\">Type the code again</a></p>",
        alert(detail)
    );
    page(status, "Nothing was done", &body, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header;

    #[tokio::test]
    async fn what_devices_say_is_text_on_the_page() {
        let evil = "\"><script>alert(1)</script>";
        let pages = [
            sign_in(StatusCode::OK, Some(evil), evil, evil),
            confirm(&Confirm {
                client: evil,
                org: Some(evil),
                wants: "cap:run.* role:viewer".into(),
                network: Some(evil),
                is_near: false,
                ticket: evil,
            }),
            over(StatusCode::BAD_REQUEST, evil),
        ];
        for (page, times) in pages.into_iter().zip([3, 4, 1]) {
            let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
            assert!(
                policy.contains("default-src 'none'") && policy.contains("form-action 'self';") && !policy.contains("unsafe"),
                "{policy}"
            );
            let bytes = axum::body::to_bytes(page.into_body(), 1 << 20).await.unwrap();
            let html = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(!html.contains("<script"), "{html}");
            assert_eq!(html.matches("&lt;script&gt;").count(), times, "{html}");
        }
    }
}
