#!/usr/bin/env python3
"""Uses every kind of operation by the client that openapi-python-client generates from
docs/openapi.json: make test-clients. No path, header or field is written here by hand."""

import json
import os
import ssl
import uuid
from io import BytesIO

from tandem_client import AuthenticatedClient, Client
from tandem_client.api.accounts import log_in, register
from tandem_client.api.catalogue import get_product, list_products, reserve_product
from tandem_client.api.files import delete_file, get_file, list_files, upload_file
from tandem_client.api.live import create_ticket, stream_events
from tandem_client.api.messages import get_history, post_conversation, post_message
from tandem_client.api.sessions import create_session, delete_session, get_session, patch_session
from tandem_client.api.stateless import calculate, draw_random, get_info
from tandem_client.models import (
    CalculateRequest,
    CreateSession,
    CreateSessionClientData,
    ErrorCode,
    Login,
    NewReservation,
    Operation,
    PatchSession,
    PatchSessionClientData,
    PostConversation,
    PostMessage,
    Problem,
    Register,
)
from tandem_client.types import File

tls = ssl.create_default_context(cafile=os.environ["TANDEM_CACERT"])
client = Client(base_url=os.environ["TANDEM_TARGET"], verify_ssl=tls, raise_on_unexpected_status=True)


def key():
    return str(uuid.uuid4())


def data(of, **members):
    """Client data: an object of any members."""
    value = of()
    value.additional_properties = members
    return value


# Stateless: results, and an error as a typed value.
assert get_info.sync(client=client).service == "stateless-svc"
quotient = calculate.sync(client=client, body=CalculateRequest(operation=Operation.DIVIDE, operands=[22, 7]))
assert abs(quotient.result - 22 / 7) < 1e-12
problem = calculate.sync(client=client, body=CalculateRequest(operation=Operation.DIVIDE, operands=[1, 0]))
assert isinstance(problem, Problem) and problem.code == ErrorCode.DIVISION_BY_ZERO, problem
assert problem.errors[0].pointer == "/operands/1", problem
assert all(1 <= value <= 6 for value in draw_random.sync(client=client, min_=1, max_=6, count=20).values)
products = list_products.sync(client=client, limit=2).products
assert get_product.sync(products[0].id, client=client).name == products[0].name

# Create, twice by one key.
body = CreateSession(client_data=data(CreateSessionClientData, name="Ada"))
create_key = key()
created = create_session.sync_detailed(client=client, body=body, idempotency_key=create_key)
session, tag = created.parsed, created.headers["ETag"]
again = create_session.sync_detailed(client=client, body=body, idempotency_key=create_key)
assert again.parsed.session_id == session.session_id
assert again.headers["Idempotency-Replayed"] == "true"

# Talk, and read.
message = post_message.sync(session.session_id, client=client, body=PostMessage("Hello"), idempotency_key=key())
assert (message.number, message.version) == (1, 2), message
affinity_key = created.headers["X-Affinity-Key"]
second = post_conversation.sync(
    client=client, body=PostConversation(session_id=session.session_id, message="And again"), x_affinity_key=affinity_key
)
assert second.number == 2, second
assert get_session.sync(session.session_id, client=client).message_count == 2
page = get_history.sync(session.session_id, client=client, limit=1)
rest = get_history.sync(session.session_id, client=client, cursor=page.next_cursor)
assert [entry.message for entry in page.messages + rest.messages] == ["Hello", "And again"]

# Patch: the first tag is outdated since the messages.
patch = PatchSession(client_data=data(PatchSessionClientData, name="Grace"))
outdated = patch_session.sync_detailed(session.session_id, client=client, body=patch, if_match=tag)
assert outdated.status_code == 412 and outdated.parsed.code == ErrorCode.PRECONDITION_FAILED, outdated
tag = get_session.sync_detailed(session.session_id, client=client).headers["ETag"]
patched = patch_session.sync_detailed(session.session_id, client=client, body=patch, if_match=tag)
assert patched.status_code == 200 and patched.parsed.client_data["name"] == "Grace", patched
unchanged = get_session.sync_detailed(
    session.session_id, client=client, if_none_match=patched.headers["ETag"]
)
assert unchanged.status_code == 304, unchanged

# Listen: the generator makes functions that read whole bodies, so the endless one is read by httpx
# with the arguments that the generator makes.
ticket = create_ticket.sync(session.session_id, client=client)
request = stream_events._get_kwargs(session.session_id, ticket=ticket.ticket, last_event_id_query=0)
numbers = []
with client.get_httpx_client().stream(**request) as stream:
    assert stream.status_code == 200
    for line in stream.iter_lines():
        if line.startswith("data:") and "number" in (event := json.loads(line[5:])):
            numbers.append(event["number"])
        if len(numbers) == 2:
            break
assert numbers == [1, 2], numbers

# Delete.
assert delete_session.sync_detailed(session.session_id, client=client).status_code == 204
gone = get_session.sync(session.session_id, client=client)
assert gone.code == ErrorCode.SESSION_NOT_FOUND, gone

# A user reserves a product and uploads a file, each twice by one key.
password = "correct horse battery staple"
assert register.sync(client=client, body=Register(username="buyer", name="Buyer", password=password)).id == "buyer"
tokens = log_in.sync(client=client, body=Login(username="buyer", password=password))
user = AuthenticatedClient(
    base_url=os.environ["TANDEM_TARGET"], token=tokens.access_token, verify_ssl=tls, raise_on_unexpected_status=True
)
in_stock = list_products.sync(client=client, in_stock=True, limit=1).products[0]
reservation_key = key()
reservations = [
    reserve_product.sync(in_stock.id, client=user, body=NewReservation(quantity=1), idempotency_key=reservation_key)
    for _ in range(2)
]
assert reservations[0].id == reservations[1].id and reservations[0].quantity == 1, reservations
assert get_product.sync(in_stock.id, client=user).stock == in_stock.stock - 1
everything = reserve_product.sync(in_stock.id, client=user, body=NewReservation(quantity=1_000_000))
assert everything.code == ErrorCode.OUT_OF_STOCK, everything
upload_key, name = key(), 'attachment; filename="notes.txt"'
uploads = [
    upload_file.sync(
        client=user, body=File(payload=BytesIO(b"Hello")), content_disposition=name, idempotency_key=upload_key
    )
    for _ in range(2)
]
assert uploads[0].id == uploads[1].id, uploads
assert (uploads[0].name, uploads[0].size, uploads[0].content_type) == ("notes.txt", 5, "text/plain"), uploads
assert [file.id for file in list_files.sync(client=user).files] == [uploads[0].id]
assert delete_file.sync_detailed(uploads[0].id, client=user).status_code == 204
assert get_file.sync(uploads[0].id, client=user).code == ErrorCode.FILE_NOT_FOUND
print("The generated client creates, talks, reads, patches, listens, deletes, reserves and uploads.")
