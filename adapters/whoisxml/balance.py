"""The balance: another service of the vendor, on another host."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.contract.operations import AccountInfo, ShowAccount
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.whoisxml.params import request_params, wants_xml
from adapters.whoisxml.xml import xml_reply

PRODUCT_ID, PRODUCT_NAME = 7, "Email Verification API"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBalance(ShowAccount):
    """A request for the balance, with its output format."""

    xml: bool = False
    product: str
    """The only product to show, as sent; empty shows all."""


def read_balance(request: WireRequest) -> ShowBalance:
    params = request_params(request)
    return ShowBalance(xml=wants_xml(params), product=str(params.get("productid") or "").strip())


def write_balance(op: ShowBalance, account: AccountInfo) -> WireReply:
    entry = {
        "product_id": PRODUCT_ID,
        "product": {"id": PRODUCT_ID, "name": PRODUCT_NAME},
        "credits": account.credits_shown,
    }
    balance = {"data": [entry] if op.product in ("", str(PRODUCT_ID)) else []}
    return xml_reply("response", balance, item_name="item") if op.xml else json_reply(balance)
