"""A whole flow through a generated client, with types: `mypy --strict` reads it, and a node answers it."""

import importlib
import os
import pkgutil
import time

import quipu_client.api
from quipu_client import AuthenticatedClient
from quipu_client.api.agent import agent_create_named
from quipu_client.api.api_key import api_key_create_named
from quipu_client.api.application import application_create_named
from quipu_client.api.approval import approval_approve, approval_create_named
from quipu_client.api.callback import callback_create_named
from quipu_client.api.conversation import conversation_create_named, conversation_post, list_conversation_messages
from quipu_client.api.denial import denial_note
from quipu_client.api.entity import entity_create_named, resolve
from quipu_client.api.grant import grant_give
from quipu_client.api.invite import invite_create_named
from quipu_client.api.org import org_create_named
from quipu_client.api.project import project_create_named
from quipu_client.api.quota import quota_set_limit
from quipu_client.api.role import role_set
from quipu_client.api.run import get_run, list_run_steps, list_runs, run_approve, run_create_named
from quipu_client.api.secret import secret_set
from quipu_client.models import (
    AddParticipant,
    AliasName,
    AnswerApproval,
    ApproveCommand,
    Binding,
    BoundTo,
    ClientAuthentication,
    CreateAgent,
    CreateApiKey,
    CreateApproval,
    CreateApprovalBody,
    CreateCallback,
    CreateConversation,
    CreateEntity,
    CreateInvite,
    CreateOrg,
    CreateProject,
    CreateRun,
    CreateRunInput,
    ConversationType,
    Definition,
    DefinitionInputs,
    DefinitionOutputs,
    Denial,
    DirectoryType,
    DescribeApplication,
    EdgeSpec,
    FormOfAlias,
    GiveGrant,
    GrantType,
    InputSpec,
    MapConfig,
    MapNode,
    MessageRow,
    ModelConfig,
    NoteDenial,
    OutputSpec,
    ParticipantKind,
    PostMessage,
    Problem,
    Receipt,
    Resolved,
    RunPage,
    RunRow,
    RunState,
    Role,
    SetLimit,
    SetOwnRole,
    SetSecret,
    StepStatus,
    WaitApprovalConfig,
    WaitApprovalNode,
)

ORG = "typed"
ADA = "ada"


def receipt(answer: Receipt | Problem | None) -> Receipt:
    assert isinstance(answer, Receipt), answer
    return answer


def the_run(client: AuthenticatedClient, run: str, state: RunState) -> RunRow:
    for _ in range(200):
        row = get_run.sync(ORG, run, client=client)
        if isinstance(row, RunRow) and row.state == state:
            return row
        time.sleep(0.05)
    raise AssertionError(f"{run} is not {state}: {row}")


def conversation(client: AuthenticatedClient) -> None:
    model = ModelConfig(provider="scripted", model="demo")
    agent = CreateAgent(name="Scout", model=model)
    receipt(agent_create_named.sync(ORG, "scout", client=client, body=agent, quipu_on_behalf_of=ADA))
    desk = CreateConversation(
        type_=ConversationType.GROUP,
        participants=[AddParticipant(principal="scout", kind=ParticipantKind.AGENT)],
    )
    receipt(conversation_create_named.sync(ORG, "desk", client=client, body=desk, quipu_on_behalf_of=ADA))
    post = PostMessage(body="What can you do?")
    posted = receipt(
        conversation_post.sync(ORG, "desk", client=client, body=post, idempotency_key="post-1", quipu_on_behalf_of=ADA)
    )
    page = list_conversation_messages.sync(ORG, "desk", client=client, min_position=posted.position)
    assert page is not None and not isinstance(page, Problem), page
    first: MessageRow = page.items[0]
    assert (first.body, first.sender, first.deleted) == ("What can you do?", ADA, False), first
    # The agent's turn is a run.
    for _ in range(200):
        runs = list_runs.sync(ORG, client=client, agent="scout", state=RunState.COMPLETED)
        if isinstance(runs, RunPage) and runs.items:
            return
        time.sleep(0.05)
    raise AssertionError(f"the agent does not answer: {runs}")


def workflow(client: AuthenticatedClient) -> None:
    definition = Definition(
        name="refund",
        inputs=DefinitionInputs.from_dict({"amount": InputSpec().to_dict()}),
        outputs=DefinitionOutputs.from_dict({"answer": OutputSpec().to_dict()}),
        nodes=[
            WaitApprovalNode(component="wait_approval", id="ask", config=WaitApprovalConfig(approvers=[ADA])),
            MapNode(component="map", id="pay", config=MapConfig(expression="'paid ' + string(input)")),
        ],
        edges=[
            EdgeSpec(from_="input.amount", to="ask.in"),
            EdgeSpec(from_="ask.approved", to="pay.in"),
            EdgeSpec(from_="pay.out", to="output.answer"),
        ],
    )
    create = CreateRun(definition=definition, input_=CreateRunInput.from_dict({"amount": 240}))
    receipt(run_create_named.sync(ORG, "refund-1", client=client, body=create, quipu_on_behalf_of=ADA))
    the_run(client, "refund-1", RunState.RUNNING)
    answer = AnswerApproval(node="ask")
    receipt(run_approve.sync(ORG, "refund-1", client=client, body=answer, quipu_on_behalf_of=ADA))
    run = the_run(client, "refund-1", RunState.COMPLETED)
    assert run.output == {"answer": "paid 240"}, run
    steps = list_run_steps.sync(ORG, "refund-1", client=client, status=StepStatus.COMPLETED)
    assert steps is not None and not isinstance(steps, Problem), steps
    assert [step.step for step in steps.items] == ["ask", "pay"], steps


def rights(client: AuthenticatedClient) -> None:
    clerk = SetOwnRole(name="clerk", holds=["role:viewer", "cap:run.start"])
    receipt(role_set.sync(ORG, "all", client=client, body=clerk, quipu_on_behalf_of=ADA))
    limit = SetLimit(level="org", unit="calls", limit=10)
    receipt(quota_set_limit.sync(ORG, "all", client=client, body=limit, quipu_on_behalf_of=ADA))
    receipt(grant_give.sync(ORG, "bob", client=client, body=GiveGrant(right="role:clerk"), quipu_on_behalf_of=ADA))
    made = receipt(
        api_key_create_named.sync(
            ORG, "ci", client=client, body=CreateApiKey(name="CI", scopes=["cap:run.*"]), quipu_on_behalf_of=ADA
        )
    )
    assert isinstance(made.shown, str), made
    app = DescribeApplication(
        name="App",
        grants=[GrantType.AUTHORIZATION_CODE],
        authentication=ClientAuthentication.NONE,
        redirect_uris=["https://app.example/cb"],
        scopes=["cap:run.*"],
    )
    receipt(application_create_named.sync(ORG, "app", client=client, body=app, quipu_on_behalf_of=ADA))
    by_key = AuthenticatedClient(base_url=os.environ["QUIPU_URL"], token=made.shown, raise_on_unexpected_status=True)
    the_run(by_key, "refund-1", RunState.COMPLETED)
    beyond = conversation_post.sync(ORG, "desk", client=by_key, body=PostMessage(body="Hello"))
    assert isinstance(beyond, Problem) and (beyond.status, beyond.code) == (403, "missing_right"), beyond


def directory(client: AuthenticatedClient) -> None:
    receipt(project_create_named.sync(ORG, "shop", client=client, body=CreateProject(name="Shop"), quipu_on_behalf_of=ADA))
    desk = CreateEntity(
        type_=DirectoryType.ASSISTANT,
        name="Desk",
        project="shop",
        aliases=[AliasName(form=FormOfAlias.SLUG, text="desk")],
        bindings=[Binding(to=BoundTo.AGENT, id="scout")],
    )
    receipt(entity_create_named.sync(ORG, "desk", client=client, body=desk, quipu_on_behalf_of=ADA))
    for _ in range(200):
        found = resolve.sync(ORG, client=client, address="@desk")
        if isinstance(found, Resolved):
            assert (found.id, found.bindings[0].id) == ("desk", "scout"), found
            return
        time.sleep(0.05)
    raise AssertionError(f"@desk is nobody: {found}")


def approval(client: AuthenticatedClient) -> None:
    fields = CreateApprovalBody.from_dict({"name": "Typed clients"})
    asked = CreateApproval(kind="org", id=ORG, command="rename", body=fields, reason="to try")
    receipt(approval_create_named.sync(ORG, "ask", client=client, body=asked, quipu_on_behalf_of=ADA))
    own = approval_approve.sync(ORG, "ask", client=client, body=ApproveCommand(), quipu_on_behalf_of=ADA)
    assert isinstance(own, Problem) and own.code == "own_request", own


def outside(client: AuthenticatedClient) -> None:
    """What others send and get: a secret, an address for their deliveries, an invite."""
    receipt(secret_set.sync(ORG, "hooks", client=client, body=SetSecret(value="not shown"), quipu_on_behalf_of=ADA))
    orders = CreateCallback.from_dict(
        {
            "name": "Orders",
            "scheme": "standard_webhooks",
            "secret": {"value": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
            "principal": ADA,
            "target": {"kind": "conversation", "id": "desk", "command": "post"},
            "mapping": {"body": "=body.text"},
        }
    )
    receipt(callback_create_named.sync(ORG, "orders", client=client, body=orders, quipu_on_behalf_of=ADA))
    bob = CreateInvite(address="bob@example.org", role=Role.VIEWER)
    receipt(invite_create_named.sync(ORG, "bob", client=client, body=bob, quipu_on_behalf_of=ADA))


def refusal(client: AuthenticatedClient) -> None:
    denial = Denial(
        principal=ADA, right="cap:run.read", kind="run", code="missing_right", count=1, first=1767225600000, last=1767225600000
    )
    receipt(denial_note.sync(ORG, "d2026-01-01", client=client, body=NoteDenial(denial=denial)))


def problem(client: AuthenticatedClient) -> None:
    answer = conversation_post.sync(ORG, "nowhere", client=client, body=PostMessage(body="Hello"), quipu_on_behalf_of=ADA)
    assert isinstance(answer, Problem), answer
    assert answer.status == 404 and answer.code == "conversation_not_found", answer


def every_view(client: AuthenticatedClient) -> int:
    """Rows of every view read as their schemas say: a field that is missing or a name that is unknown raises."""
    rows = 0
    for module in pkgutil.walk_packages(quipu_client.api.__path__, "quipu_client.api."):
        name = module.name.rsplit(".", 1)[-1]
        kind = module.name.rsplit(".", 2)[-2]
        if not name.startswith("list_"):
            continue
        operation = importlib.import_module(module.name)
        ids = {"agent": "scout", "conversation": "desk", "run": "refund-1", "org": ORG}
        ids |= {"api_key": "ci", "grant": "bob", "role": "all", "quota": "all"}
        ids |= {"entity": "desk", "alias": "slug_desk"}
        ids |= {"application": "app"}
        ids |= {"secret": "hooks", "callback": "orders"}
        ids |= {"project": "shop", "approval": "ask"}
        ids |= {"principal": "scout"}
        ids |= {"denial": "d2026-01-01"}
        ids |= {"invite": "bob"}
        of_one = name.startswith(f"list_{kind}_")
        arguments = (ORG, ids[kind]) if of_one else (ORG,)
        page = operation.sync(*arguments, client=client)
        assert page is not None and not isinstance(page, Problem), (module.name, page)
        rows += len(page.items)
    return rows


def main() -> None:
    client = AuthenticatedClient(
        base_url=os.environ["QUIPU_URL"], token=os.environ["QUIPU_TOKEN"], raise_on_unexpected_status=True
    )
    receipt(org_create_named.sync(ORG, ORG, client=client, body=CreateOrg(name="Typed"), quipu_on_behalf_of=ADA))
    conversation(client)
    workflow(client)
    rights(client)
    directory(client)
    approval(client)
    outside(client)
    refusal(client)
    problem(client)
    print(every_view(client))


main()
