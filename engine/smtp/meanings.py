"""What each `Meaning` implies: one table, and the sets that are read off it. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from engine.model import Meaning


class About(StrEnum):
    """Whom a meaning is about."""

    MAILBOX = "mailbox"
    US = "us"  # our IP address, name, sender or manner of connecting
    DOMAIN = "domain"
    NOTHING = "nothing"  # the reply does not say, or there was none


class Contact(StrEnum):
    """How far a conversation with the host came."""

    REPLY = "reply"
    NO_REPLY = "no_reply"  # connected, but no usable reply came
    NO_CONNECTION = "no_connection"


class MeaningTraits(NamedTuple):
    """A row of `MEANING_TRAITS`."""

    about: About
    decisive: bool = False
    """No other host of the domain would say otherwise."""
    may_state_delay: bool = False
    """A delay in the text counts with any code, not only with a 4xx."""
    refuses_name: bool = False
    """A 5xx of this meaning to the control address shows that not every name is accepted."""
    reputation_weight: float | None = None
    """How much of a refusal of us it is; 0 is only counted, None is no refusal of us."""
    names_block_list: bool = False
    """The text may name the block list that we are on."""
    contact: Contact = Contact.REPLY


MEANING_TRAITS: dict[Meaning, MeaningTraits] = {
    # In the order of precedence: of several hosts' failures the first one here is reported. The
    # nearer to the mailbox, the more it tells.
    Meaning.ACCEPTED: MeaningTraits(About.MAILBOX, decisive=True),
    Meaning.CANNOT_VERIFY: MeaningTraits(About.MAILBOX, decisive=True),
    Meaning.MAILBOX_DISABLED: MeaningTraits(About.MAILBOX, decisive=True, refuses_name=True),
    Meaning.MAILBOX_FULL: MeaningTraits(About.MAILBOX, decisive=True),
    Meaning.MAILBOX_MOVED: MeaningTraits(About.MAILBOX, decisive=True, refuses_name=True),
    Meaning.MAILBOX_NOT_FOUND: MeaningTraits(About.MAILBOX, decisive=True, refuses_name=True),
    Meaning.MAILBOX_RATE_LIMITED: MeaningTraits(About.MAILBOX, decisive=True, may_state_delay=True),
    # Only the control shows whom it is about (`engine.smtp.catch_all`).
    Meaning.REJECTED_UNRECOGNISED: MeaningTraits(About.NOTHING, decisive=True, refuses_name=True),
    Meaning.GREYLISTED: MeaningTraits(About.NOTHING, may_state_delay=True),
    Meaning.UNVERIFIED: MeaningTraits(About.NOTHING),
    # How a host is set up: counted, but no cause to stop asking it.
    Meaning.AUTH_REQUIRED: MeaningTraits(About.US, reputation_weight=0.0),
    Meaning.HELO_REJECTED: MeaningTraits(About.US, reputation_weight=1.0),
    Meaning.IP_BLOCKED: MeaningTraits(About.US, reputation_weight=1.0, names_block_list=True),
    # It may be about the recipient as well, so it takes many of them to say something of us.
    Meaning.POLICY: MeaningTraits(About.US, refuses_name=True, reputation_weight=0.25),
    Meaning.RDNS_REQUIRED: MeaningTraits(About.US, reputation_weight=1.0),
    Meaning.SENDER_AUTH_FAILED: MeaningTraits(About.US, reputation_weight=1.0),
    Meaning.SENDER_REJECTED: MeaningTraits(About.US, reputation_weight=1.0),
    Meaning.TLS_REQUIRED: MeaningTraits(About.US, reputation_weight=0.0),
    # How fast we are, which `engine.smtp.pacing` sees to: counted, but no cause to stop.
    Meaning.THROTTLED: MeaningTraits(About.NOTHING, may_state_delay=True, reputation_weight=0.0),
    Meaning.TEMPORARY: MeaningTraits(About.NOTHING),
    Meaning.PROTOCOL_ERROR: MeaningTraits(About.NOTHING),
    Meaning.NOT_SMTP: MeaningTraits(About.NOTHING, contact=Contact.NO_REPLY),
    Meaning.TIMED_OUT: MeaningTraits(About.NOTHING, contact=Contact.NO_REPLY),
    Meaning.DROPPED: MeaningTraits(About.NOTHING, contact=Contact.NO_REPLY),
    Meaning.UNREACHABLE: MeaningTraits(About.NOTHING, contact=Contact.NO_CONNECTION),
    Meaning.NOT_ALLOWED: MeaningTraits(About.NOTHING, contact=Contact.NO_CONNECTION),
    # These two condemn the domain, so they count only if no host has another result.
    Meaning.DOMAIN_NOT_SERVED: MeaningTraits(About.DOMAIN),
    Meaning.SMTPUTF8_UNSUPPORTED: MeaningTraits(About.DOMAIN),
}

_ROWS = tuple(MEANING_TRAITS.items())

ABOUT_MAILBOX = frozenset(meaning for meaning, row in _ROWS if row.about is About.MAILBOX)
"""Replies that show that the host does not refuse us."""
ABOUT_US = frozenset(meaning for meaning, row in _ROWS if row.about is About.US)
DECISIVE = frozenset(meaning for meaning, row in _ROWS if row.decisive)
MAY_STATE_DELAY = frozenset(meaning for meaning, row in _ROWS if row.may_state_delay)
REFUSES_NAME = frozenset(meaning for meaning, row in _ROWS if row.refuses_name)
NAMES_BLOCK_LIST = frozenset(meaning for meaning, row in _ROWS if row.names_block_list)
REFUSAL_WEIGHTS = {
    meaning: row.reputation_weight for meaning, row in _ROWS if row.reputation_weight is not None
}
WITHOUT_REPLY = frozenset(meaning for meaning, row in _ROWS if row.contact is Contact.NO_REPLY)
NO_CONTACT = frozenset(meaning for meaning, row in _ROWS if row.contact is not Contact.REPLY)
MEANING_PRECEDENCE = tuple(MEANING_TRAITS)
