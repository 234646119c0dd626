"""Keys and accounts: who may call the server, and what they use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response

from adapters.kit.words import is_digits
from gateway.accounts.caller import AccountStatus
from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PageRoute, Section, Visit

if TYPE_CHECKING:
    from gateway.accounts.accounts import KeyInfo
    from gateway.accounts.directory import AccountInfo

PER_PAGE = 50
MAX_CREDITS = 10**15
MAX_SEARCH_CHARACTERS = 100

STATUS_NOTES = {
    AccountStatus.ACTIVE: "Its keys are accepted.",
    AccountStatus.SUSPENDED: "Its keys are refused, as a vendor refuses a suspended account.",
    AccountStatus.UNCONFIRMED: "Its keys are refused, as those of an unverified owner are.",
}


def section(services: ConsoleServices) -> Section | None:
    if services.accounts is None or services.directory is None:
        return None
    page = KeysPage(services)
    account = "/keys/accounts/{account_id:number}"
    return Section(
        "Keys and accounts",
        "/keys",
        "keys",
        (
            PageRoute("/keys", page.show),
            PageRoute("/keys/accounts", page.create_account, "POST"),
            PageRoute(account, page.show_account),
            PageRoute(account, page.change_account, "POST"),
            PageRoute(f"{account}/status", page.set_status, "POST"),
            PageRoute(f"{account}/keys", page.create_key, "POST"),
            PageRoute(f"{account}/keys", page.lead_to_account),
            PageRoute(f"{account}/keys/{{key_id:number}}/label", page.set_label, "POST"),
            PageRoute(f"{account}/keys/{{key_id:number}}/revoke", page.revoke, "POST"),
        ),
    )


class KeysPage:
    def __init__(self, services: ConsoleServices) -> None:
        assert services.accounts is not None
        assert services.directory is not None
        self._accounts = services.accounts
        self._directory = services.directory
        self._dialects = {dialect.name: dialect for dialect in services.dialects}
        self._sandbox = services.sandbox

    async def show(self, visit: Visit) -> Response:
        """The accounts, by pages."""
        words = visit.query.get("q", "").strip()[:MAX_SEARCH_CHARACTERS]
        page = _page_number(visit.query.get("page", "1"))
        found = await self._directory.find(words, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
        return visit.render(
            "keys.html",
            found=found,
            words=words,
            page=page,
            pages=max(1, -(-found.total // PER_PAGE)),
            first=(page - 1) * PER_PAGE,
            plans=self._accounts.plans,
        )

    async def create_account(self, visit: Visit) -> Response:
        """A new account without keys."""
        from gateway.accounts.directory import MAX_OWNER_CHARACTERS
        from gateway.accounts.errors import UnknownPlan

        owner = visit.text("owner")[:MAX_OWNER_CHARACTERS] or "owner@localhost"
        try:
            account_id = await self._accounts.create_account(
                owner, plan=visit.text("plan") or None, credits=_credits(visit.text("credits"))
            )
        except UnknownPlan as exc:
            raise HTTPException(400, f"{exc}.") from exc
        visit.log_change("account.create", account=account_id)
        return visit.redirect(_path(account_id), f"Account {account_id} is there. Give it a key.")

    async def show_account(self, visit: Visit) -> Response:
        """One account with its keys and its use."""
        return await self._account_page(visit, visit.request.path_params["account_id"])

    async def change_account(self, visit: Visit) -> Response:
        """Change the owner, the plan and the credits."""
        from gateway.accounts.errors import UnknownPlan

        account = await self._account(visit)
        owner, plan = visit.text("owner"), visit.text("plan")
        credits = _credits(visit.text("credits"))
        try:
            if plan != account.plan:
                await self._accounts.set_plan(account.id, plan)
        except UnknownPlan as exc:
            raise HTTPException(400, f"{exc}.") from exc
        if credits != account.credits:
            await self._accounts.set_credits(account.id, credits)
        if owner and owner != account.owner_email:
            await self._directory.set_owner(account.id, owner)
        visit.log_change("account.change", account=account.id, plan=plan, credits=credits)
        return visit.redirect(_path(account.id), f"Account {account.id} is changed.")

    async def set_status(self, visit: Visit) -> Response:
        """Suspend or resume an account."""
        account = await self._account(visit)
        try:
            status = AccountStatus(visit.text("status"))
        except ValueError:
            raise HTTPException(400, "There is no such status.") from None
        await self._accounts.set_status(account.id, status)
        visit.log_change("account.status", account=account.id, status=status.value)
        note = f"Account {account.id} is {status.value}. {STATUS_NOTES[status]}"
        return visit.redirect(_path(account.id), note)

    async def create_key(self, visit: Visit) -> Response:
        """A new key, which this page alone shows."""
        from gateway.accounts.directory import MAX_LABEL_CHARACTERS

        account = await self._account(visit)
        dialect = self._dialects.get(visit.text("dialect"))
        if dialect is None:
            raise HTTPException(400, "There is no such dialect.")
        is_test = visit.text("kind") == "test"
        label = visit.text("label")[:MAX_LABEL_CHARACTERS] or None
        key = await self._accounts.create_key(account.id, dialect.name, test=is_test, label=label)
        visit.log_change("key.create", account=account.id, key=key.hint, dialect=dialect.name)
        url = self._sandbox.url
        example = dialect.example.curl(f"{url}/{dialect.name}", key.key) if dialect.example else ""
        base_url = f"{url}/{dialect.name}{dialect.base_path}"
        return await self._account_page(
            visit, account.id, new_key=key, base_url=base_url, example=example
        )

    async def lead_to_account(self, visit: Visit) -> Response:
        """Where the page of a new key is asked for once more."""
        return visit.redirect(_path(visit.request.path_params["account_id"]))

    async def set_label(self, visit: Visit) -> Response:
        """Say what a key is for."""
        key = await self._key(visit)
        await self._directory.set_label(key.id, visit.text("label"))
        visit.log_change("key.label", account=key.account_id, key=key.hint)
        return visit.redirect(_path(key.account_id), f"The label of {key.hint} is changed.")

    async def revoke(self, visit: Visit) -> Response:
        """Refuse a key for good."""
        key = await self._key(visit)
        await self._accounts.revoke_key_by_id(key.id)
        visit.log_change("key.revoke", account=key.account_id, key=key.hint, dialect=key.dialect)
        return visit.redirect(_path(key.account_id), f"{key.hint} is revoked.")

    async def _account_page(
        self,
        visit: Visit,
        account_id: int,
        *,
        new_key: object = None,
        base_url: str = "",
        example: str = "",
    ) -> Response:
        from gateway.accounts.errors import NoSuchAccount

        try:
            account = await self._directory.account(account_id)
        except NoSuchAccount:
            raise HTTPException(404) from None
        months = await self._directory.use_by_month(account_id)
        return visit.render(
            "account.html",
            account=account,
            keys=await self._directory.keys_of(account_id),
            months=months,
            most_used=max((used for _, used in months), default=0),
            plans=self._accounts.plans,
            dialects=self._dialects.values(),
            status_note=STATUS_NOTES[account.status],
            new_key=new_key,
            base_url=base_url,
            example=example,
        )

    async def _account(self, visit: Visit) -> AccountInfo:
        from gateway.accounts.errors import NoSuchAccount

        try:
            return await self._directory.account(visit.request.path_params["account_id"])
        except NoSuchAccount:
            raise HTTPException(404) from None

    async def _key(self, visit: Visit) -> KeyInfo:
        """The key of the path, which is one of its account."""
        parameters = visit.request.path_params
        keys: Sequence[KeyInfo] = await self._directory.keys_of(parameters["account_id"])
        found = next((key for key in keys if key.id == parameters["key_id"]), None)
        if found is None:
            raise HTTPException(404)
        return found


def _path(account_id: int) -> str:
    return f"/keys/accounts/{account_id}"


def _page_number(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 8 else 1


def _credits(text: str) -> int | None:
    """What a field says; empty is without limit."""
    text = text.replace(",", "").replace(" ", "")
    if not text:
        return None
    if not is_digits(text) or int(text) > MAX_CREDITS:
        raise HTTPException(400, "Credits should be a whole number, or empty for no limit.")
    return int(text)
