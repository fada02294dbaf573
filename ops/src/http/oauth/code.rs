//! `/oauth/code`: where the links of letters lead. Whoever follows one is asked before anything is done: programs that look at letters
//! follow links, too.

use super::{
    form::{Fields, Posted},
    page::{escaped, plain},
};
use crate::{
    app::Registration,
    http::{App, Failure},
};
use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use quipu_runtime::{accounts::Password, node::Joins};
use quipu_schemas::{
    mail::{MailCode, MailPurpose},
    problem::Problem,
};

const DEAD: &str = "<h1>This link does not work</h1><p class=\"problem\" role=\"alert\">It was used already, is over, or is not whole.</p>";

fn dead() -> Response {
    plain(StatusCode::BAD_REQUEST, "This link does not work", DEAD)
}

fn ask(status: StatusCode, code: &MailCode, problem: Option<&str>) -> Response {
    let (title, more, button) = match code.purpose {
        MailPurpose::VerifyAddress => ("Confirm your address", "", "Confirm"),
        MailPurpose::ResetPassword => (
            "Set another password",
            "<label>New password, 10 characters or more<input name=\"password\" type=\"password\" autocomplete=\"new-password\"></label>",
            "Set it",
        ),
        MailPurpose::Invite => (
            "Join the org",
            "<label>Your password; a new one, 10 characters or more, if you have no account yet\
             <input name=\"password\" type=\"password\" autocomplete=\"current-password\"></label>\
             <label>Code of your authenticator, if you use one<input name=\"totp\" inputmode=\"numeric\"></label>",
            "Join",
        ),
    };
    let problem = problem.map_or(String::new(), |problem| {
        format!("<p class=\"problem\" role=\"alert\">{}</p>", escaped(problem))
    });
    let body = format!(
        "<h1>{title}</h1>{problem}<form method=\"post\" action=\"/oauth/code\"><input type=\"hidden\" name=\"code\" value=\"{}\">{more}\
         <p><button>{button}</button></p></form>",
        escaped(&code.to_text())
    );
    plain(status, title, &body)
}

fn shown(fields: &Fields) -> Option<MailCode> {
    MailCode::parse(fields.get("code")?).ok()
}

/// `GET`: the page that asks.
pub(super) async fn page(uri: Uri) -> Response {
    let fields = Fields::parse(uri.query().unwrap_or_default()).ok();
    match fields.and_then(|fields| shown(&fields)) {
        Some(code) => ask(StatusCode::OK, &code, None),
        None => dead(),
    }
}

/// `POST`: what the person answered.
pub(super) async fn answer(State(app): State<App>, posted: Result<Posted, Failure>) -> Response {
    let Ok(Posted { fields, from, .. }) = posted else { return dead() };
    let Some(code) = shown(&fields) else { return dead() };
    let (node, text) = (app.accounts(), code.to_text());
    let done = match code.purpose {
        MailPurpose::VerifyAddress => node.verify_by_code(&text, from).await.map(|_| "Your address is confirmed."),
        MailPurpose::ResetPassword => {
            let password = Password::new(fields.get("password").unwrap_or_default());
            let reset = node.reset_by_code(&text, &password, from).await;
            reset.map(|_| "Your password is set, and every session has ended. Sign in with the new one.")
        }
        MailPurpose::Invite => {
            let who = Joins::ByPassword {
                password: Password::new(fields.get("password").unwrap_or_default()),
                code: fields.get("totp").map(Password::new),
                name: None,
                may_register: app.access.registration != Registration::Closed,
            };
            let joined = node.accept_invite(&text, who, from).await;
            joined.map(|_| "You join the org. Sign in where you use it.")
        }
    };
    match done {
        Ok(said) => plain(StatusCode::OK, "Done", &format!("<h1>Done</h1><p>{said}</p>")),
        Err(problem) => failed(&code, &problem),
    }
}

fn failed(code: &MailCode, problem: &Problem) -> Response {
    match problem.status {
        401 => ask(
            StatusCode::UNAUTHORIZED,
            code,
            Some("Password or code is wrong, or the code is missing."),
        ),
        403 | 404 | 409 | 410 => dead(),
        429 => ask(
            StatusCode::TOO_MANY_REQUESTS,
            code,
            Some("Too many attempts. Wait a moment and try again."),
        ),
        500.. => ask(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            Some("This does not work right now. Try again in a moment."),
        ),
        _ => ask(StatusCode::UNPROCESSABLE_ENTITY, code, Some(&problem.detail)),
    }
}
