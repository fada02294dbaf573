"""Libraries for OAuth in Python, unmodified, against a node: Authlib, PyJWT and joserfc."""

import os
import time
import uuid

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt as jose
from joserfc.jwk import ECKey, KeySet

URL = os.environ["QUIPU_URL"]
GRID = f"{URL}/v1/orgs/acme"
NODE = {"Authorization": f"Bearer {os.environ['QUIPU_TOKEN']}"}
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"


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


def checked(token: str, told: dict) -> None:
    """Both libraries for tokens accept it by the published keys, and neither for somebody else."""
    keys = jwt.PyJWKClient(told["jwks_uri"])
    key = keys.get_signing_key_from_jwt(token).key
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=URL, issuer=URL)
    assert claims["scope"] == "cap:run.*" and claims["exp"] - claims["iat"] == 900, claims
    try:
        jwt.decode(token, key, algorithms=["ES256"], audience="https://else.example", issuer=URL)
        raise AssertionError("taken for somebody else")
    except jwt.InvalidAudienceError:
        pass
    published = KeySet.import_key_set(requests.get(told["jwks_uri"], timeout=10).json())
    read = jose.decode(token, published, algorithms=["ES256"])
    assert read.header["typ"] == "at+jwt" and read.claims["sub"] == claims["sub"], read.header


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
    wrong += [{"exp": now + 86_400}, {"nbf": now + 600}, {"exp": str(now + 60)}, {"jti": None}]
    for changes in wrong:
        answer = ask(changes)
        assert answer.status_code == 401 and answer.json()["error"] == "invalid_client", (changes, answer.text)
    answer = ask({"jti": "twice"}, {"alg": "ES256", "jku": "https://thief.example"})
    assert answer.status_code == 401, answer.text


def main() -> None:
    made = requests.post(f"{URL}/v1/orgs/acme/orgs", json={"name": "Acme"}, headers=NODE, timeout=10)
    assert made.status_code == 201, made.text
    told = requests.get(f"{URL}/.well-known/oauth-authorization-server", timeout=10).json()
    by_secret(told)
    by_signature(told)
    print("done")


main()
