"""Who sends the generated requests: nobody, a user or an admin, by the variable FUZZ_CALLER.

A request may end its own user or the user's tokens; the user is then replaced by a new one."""

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
# Each may end the caller, or its password.
ENDING = ("delete_user", "change_password")
# Both name a user in the path.
OF_ONE_USER = ("patch_user", "delete_user")


class Account:
    """A username and a password that no generated request guesses, and its token."""

    def __init__(self):
        if CALLER == "admin":
            self.name, self.password = os.environ["FUZZ_ADMIN"], os.environ["FUZZ_ADMIN_PASSWORD"]
        self.renew()

    def renew(self):
        """Becomes a new user, unless it is an admin, and logs in."""
        if CALLER == "user":
            self.name, self.password = f"fuzz-{secrets.token_hex(8)}", secrets.token_urlsafe(24)
            self._post("register", name="Fuzz")
        self.log_in()

    def log_in(self):
        """Gets a token, as the same user: what it created is still its own."""
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
        # The admin must stay one: only the command line makes another.
        if CALLER == "admin" and operation_id(case) in OF_ONE_USER and case.path_parameters.get("user_id") == account.name:
            case.path_parameters["user_id"] = "someone-else"

    @schemathesis.hook
    def after_call(_context, case, response):
        if response.status_code >= 300:
            return
        if operation_id(case) == "log_out":
            account.log_in()
        elif operation_id(case) in ENDING:
            account.renew()

    @schemathesis.check
    def caller_is_known(_context, response, case):
        """Else a run in which every request is refused would be clean."""
        if is_ours(response):
            unknown = operation_id(case) == "get_me" and response.status_code in (401, 403)
            assert not unknown, f"the token of {account.name} is refused"
            assert CALLER != "admin" or response.status_code != 403, "an admin is refused"
