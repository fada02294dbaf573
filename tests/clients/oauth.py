"""Libraries for OAuth in Python, unmodified, against a node over TLS: Authlib, PyJWT and joserfc."""

import html.parser
import os
import ssl
import time
import urllib.parse
import uuid

import jwt
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from joserfc import jwt as jose
from joserfc.jwk import ECKey, KeySet

URL = os.environ["QUIPU_URL"]
GRID = f"{URL}/v1/orgs/acme"
NODE = {"Authorization": f"Bearer {os.environ['QUIPU_TOKEN']}"}
BACK = "https://app.example/back"
TLS = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
SCOPE = "openid profile email offline_access cap:org.read cap:run.*"


class Form(html.parser.HTMLParser):
    """What a page would send: where its form leads, and the fields that are filled in already."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action, self.fields = "", {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.action = given.get("action") or ""
        elif tag == "input":
            self.fields[given["name"]] = given.get("value") or ""


def sign_in(address: str) -> str:
    """A person opens the page, signs in and says yes; where they are sent back to."""
    browser = requests.Session()
    page = browser.get(address, timeout=10)
    assert page.status_code == 200 and "Sign in" in page.text, page.text
    form = Form(page.text)
    typed = {"address": os.environ["PERSON_ADDRESS"], "password": os.environ["PERSON_PASSWORD"], "decision": "allow"}
    to = urllib.parse.urljoin(page.url, form.action)
    wrong = browser.post(to, data=form.fields | typed | {"password": "not this one"}, timeout=10)
    assert wrong.status_code == 401 and "Address or password is wrong" in wrong.text, wrong.text
    form = Form(wrong.text)
    answer = browser.post(to, data=form.fields | typed, allow_redirects=False, timeout=10)
    assert answer.status_code in (302, 303), answer.text
    return answer.headers["location"]


def send(path: str, body: dict) -> dict:
    answer = requests.post(f"{GRID}/{path}", json=body, headers=NODE, timeout=10)
    assert answer.status_code in (201, 202), (path, answer.text)
    return answer.json()


def client(name: str, authentication: str, **more: object) -> str:
    send(f"principals/svc_{name}", {"name": name, "owner": "ada"})
    described = {"name": name, "grants": ["client_credentials"], "authentication": authentication, "scopes": ["cap:run.*"]}
    send(f"applications/{name}", described | more)
    send(f"applications/{name}/link_service", {"service": f"svc_{name}"})
    return f"acme.{name}"


def checked(token: str, told: dict, scope: str = "cap:run.*", lives: int = 900) -> dict:
    """Both libraries for tokens accept it by the published keys, and neither for somebody else."""
    keys = jwt.PyJWKClient(told["jwks_uri"], ssl_context=TLS)
    key = keys.get_signing_key_from_jwt(token).key
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=URL, issuer=URL)
    assert set(claims["scope"].split()) == set(scope.split()) and claims["exp"] - claims["iat"] == lives, claims
    try:
        jwt.decode(token, key, algorithms=["ES256"], audience="https://else.example", issuer=URL)
        raise AssertionError("taken for somebody else")
    except jwt.InvalidAudienceError:
        pass
    published = KeySet.import_key_set(requests.get(told["jwks_uri"], timeout=10).json())
    read = jose.decode(token, published, algorithms=["ES256"])
    assert read.header["typ"] == "at+jwt" and read.claims["sub"] == claims["sub"], read.header
    return claims


def by_secret(told: dict) -> None:
    for method in ("client_secret_basic", "client_secret_post"):
        name = method.rsplit("_", 1)[1]
        own = client(name, method)
        secret = send(f"applications/{name}/rotate_secret", {})["shown"]
        methods = {"token_endpoint_auth_method": method, "revocation_endpoint_auth_method": method}
        session = OAuth2Session(own, secret, scope="cap:run.*", **methods)
        token = session.fetch_token(told["token_endpoint"], grant_type="client_credentials")
        assert token["token_type"] == "Bearer", token
        checked(token["access_token"], told)
        seen = session.introspect_token(told["introspection_endpoint"], token=token["access_token"]).json()
        assert seen["active"] and seen["client_id"] == own, seen
        session.revoke_token(told["revocation_endpoint"], token=token["access_token"]).raise_for_status()
        seen = session.introspect_token(told["introspection_endpoint"], token=token["access_token"]).json()
        assert seen == {"active": False}, seen


def by_signature(told: dict) -> None:
    key = ECKey.generate_key("P-256")
    public = {name: key.as_dict(private=False)[name] for name in ("kty", "crv", "x", "y")}
    own = client("signer", "private_key_jwt", keys=[public])

    def ask(changes: dict, header: dict | None = None) -> requests.Response:
        now = int(time.time())
        said = {"iss": own, "sub": own, "aud": told["token_endpoint"], "jti": uuid.uuid4().hex, "iat": now, "exp": now + 60}
        assertion = jose.encode(header or {"alg": "ES256"}, said | changes, key)
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        }
        return requests.post(told["token_endpoint"], data=form, timeout=10)

    once = {"jti": "once"}
    answer = ask(once)
    assert answer.status_code == 200, answer.text
    checked(answer.json()["access_token"], told)
    now = int(time.time())
    wrong = [once, {"aud": "https://else.example"}, {"iss": "acme.basic"}, {"sub": "acme.basic"}, {"exp": now - 1}]
    wrong += [{"exp": now + 86_400}, {"iat": now - 600, "exp": now + 60}, {"nbf": now + 600}, {"exp": str(now + 60)}, {"jti": None}]
    for changes in wrong:
        answer = ask(changes)
        assert answer.status_code == 401 and answer.json()["error"] == "invalid_client", (changes, answer.text)
    answer = ask({"jti": "twice"}, {"alg": "ES256", "jku": "https://thief.example"})
    assert answer.status_code == 401, answer.text


def by_code(told: dict) -> None:
    """A person lets a client in, which goes on with refresh tokens until one is shown twice."""
    described = {"name": "web", "grants": ["authorization_code", "refresh_token"], "redirect_uris": [BACK]}
    described |= {"authentication": "client_secret_basic"}
    scopes = ["cap:openid.*", "cap:org.read", "cap:run.*"]
    send("applications/web_py", described | {"scopes": scopes})
    secret = send("applications/web_py/rotate_secret", {})["shown"]
    web = OAuth2Session("acme.web_py", secret, scope=SCOPE, redirect_uri=BACK, code_challenge_method="S256")
    verifier, nonce = generate_token(48), generate_token()
    asked, state = web.create_authorization_url(told["authorization_endpoint"], code_verifier=verifier, nonce=nonce)
    back = sign_in(asked)
    assert back.startswith(f"{BACK}?"), back
    said = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))
    assert said["iss"] == told["issuer"] and said["state"] == state, said
    first = web.fetch_token(told["token_endpoint"], authorization_response=back, code_verifier=verifier)
    published = KeySet.import_key_set(requests.get(told["jwks_uri"], timeout=10).json())
    read = jose.decode(first["id_token"], published, algorithms=told["id_token_signing_alg_values_supported"])
    params = {"nonce": nonce, "client_id": "acme.web_py", "access_token": first["access_token"], "max_age": 60}
    wanted = {"iss": {"values": [told["issuer"]]}, "aud": {"values": ["acme.web_py"]}}
    identity = CodeIDToken(read.claims, read.header, wanted, params)
    identity.validate(leeway=5)
    claims = checked(first["access_token"], told, SCOPE, 7 * 86_400)
    assert claims["sub"] == identity["sub"] and claims["client_id"] == "acme.web_py", claims
    about = web.get(told["userinfo_endpoint"], timeout=10).json()
    assert about == {"sub": identity["sub"], "name": "Ada", "email": os.environ["PERSON_ADDRESS"], "email_verified": False}, about
    mine = web.get(f"{URL}/v1/me", timeout=10)
    assert mine.status_code == 200 and mine.json()["principal"] == identity["sub"], mine.text
    runs = web.get(f"{GRID}/runs", timeout=10)
    assert runs.status_code == 200, runs.text
    second = web.refresh_token(told["token_endpoint"])
    assert second["refresh_token"] != first["refresh_token"], "not rotated"
    checked(second["access_token"], told, SCOPE, 7 * 86_400)
    seen = web.introspect_token(told["introspection_endpoint"], token=second["access_token"]).json()
    assert seen["active"] and seen["sub"] == identity["sub"] and seen["exp"] > time.time(), seen
    try:
        web.refresh_token(told["token_endpoint"], refresh_token=first["refresh_token"])
        raise AssertionError("a refresh token was good twice")
    except OAuthError as refused:
        assert refused.error == "invalid_grant", refused
    seen = web.introspect_token(told["introspection_endpoint"], token=second["access_token"]).json()
    assert seen == {"active": False}, seen
    try:
        web.fetch_token(told["token_endpoint"], authorization_response=back, code_verifier=verifier)
        raise AssertionError("a code was good twice")
    except OAuthError as refused:
        assert refused.error == "invalid_grant", refused


def signed_by_authlib(told: dict) -> None:
    key = ECKey.generate_key("P-256")
    public = {name: key.as_dict(private=False)[name] for name in ("kty", "crv", "x", "y")}
    own = client("assertions", "private_key_jwt", keys=[public])
    session = OAuth2Session(own, key, scope="cap:run.*", token_endpoint_auth_method="private_key_jwt")
    session.register_client_auth_method(PrivateKeyJWT(told["token_endpoint"], alg="ES256"))
    token = session.fetch_token(told["token_endpoint"], grant_type="client_credentials")
    checked(token["access_token"], told)


def by_own_key(told: dict) -> None:
    """A service logs in as itself, by a key of its own, without an application."""
    key = ECKey.generate_key("P-256")
    public = {name: key.as_dict(private=False)[name] for name in ("kty", "crv", "x", "y")}
    send("principals/clerk_py", {"name": "Clerk", "owner": "ada"})
    send("principals/clerk_py/add_public_key", {"key": public})
    session = OAuth2Session("acme/clerk_py", key, scope="cap:run.*", token_endpoint_auth_method="private_key_jwt")
    session.register_client_auth_method(PrivateKeyJWT(told["token_endpoint"], alg="ES256"))
    token = session.fetch_token(told["token_endpoint"], grant_type="client_credentials")
    claims = checked(token["access_token"], told)
    assert claims["sub"] == "acme/clerk_py" and claims["client_id"] == "acme/clerk_py", claims


def main() -> None:
    told = requests.get(f"{URL}/.well-known/openid-configuration", timeout=10).json()
    assert told["issuer"] == URL, told
    by_secret(told)
    by_signature(told)
    signed_by_authlib(told)
    by_own_key(told)
    by_code(told)
    print("done")


main()
