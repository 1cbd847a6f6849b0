"""Who sends the generated requests: nobody, a user or an admin, by the variable FUZZ_CALLER.

The caller stays the same one, since what it created is its own; a request may end its tokens alone."""

import os
import secrets
import time

import requests
import schemathesis

CALLER = os.environ.get("FUZZ_CALLER", "nobody")
# At the gateway, since Nginx permits few logins a minute.
AUTH = os.environ.get("TANDEM_GATEWAY", "") + "/api/v1/auth"
# Less than the 15 minutes of a token.
TOKEN_S = 600
# Of the caller itself: a deleted user has nothing, and an admin must stay one, since only the command line makes
# another.
KEPT_FROM_ITSELF = ("delete_user", "patch_user") if CALLER == "admin" else ("delete_user",)


class Account:
    """A username and a password that no generated request guesses, and its token."""

    def __init__(self):
        if CALLER == "admin":
            self.name, self.password = os.environ["FUZZ_ADMIN"], os.environ["FUZZ_ADMIN_PASSWORD"]
        else:
            self.name, self.password = f"fuzz-{secrets.token_hex(8)}", secrets.token_urlsafe(24)
            self._post("register", name="Fuzz")
        self.log_in()

    def log_in(self):
        """Gets a token."""
        self.token, self.since = self._post("login")["access_token"], time.monotonic()

    def _post(self, operation, **more):
        body = {"username": self.name, "password": self.password, **more}
        response = requests.post(f"{AUTH}/{operation}", json=body, timeout=20)
        if not response.ok:
            raise RuntimeError(f"{operation} of {self.name}: {response.status_code} {response.text}")
        return response.json()

    def bearer(self):
        """A token that is valid."""
        if time.monotonic() - self.since > TOKEN_S:
            self.log_in()
        return self.token


def operation_id(case):
    """Its name in the document."""
    return case.operation.definition.raw.get("operationId")


def is_ours(response):
    """Whether the account's token was sent; some requests are sent without it, or with a wrong one."""
    return response.request.headers.get("Authorization") == f"Bearer {account.token}"


if CALLER != "nobody":
    account = Account()

    @schemathesis.auth(refresh_interval=None)
    class Bearer:
        """Sends the token with each request."""

        def get(self, _case, _context):
            return account.bearer()

        def set(self, case, token, _context):
            case.headers["Authorization"] = f"Bearer {token}"

    @schemathesis.hook
    def before_call(_context, case, _kwargs):
        if operation_id(case) in KEPT_FROM_ITSELF and case.path_parameters.get("user_id") == account.name:
            case.path_parameters["user_id"] = "someone-else"

    @schemathesis.hook
    def after_call(_context, case, response):
        if operation_id(case) == "log_out" and response.status_code < 300:
            account.log_in()

    @schemathesis.check
    def caller_is_known(_context, response, case):
        """Else a run in which every request is refused would be clean."""
        if is_ours(response):
            unknown = operation_id(case) == "get_me" and response.status_code in (401, 403)
            assert not unknown, f"the token of {account.name} is refused"
            assert CALLER != "admin" or response.status_code != 403, "an admin is refused"
