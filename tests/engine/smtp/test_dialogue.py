"""SMTP conversations, with servers that follow the protocol and with others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engine.model import Meaning, Stage
from engine.smtp.dialogue import (
    Conversation,
    ConversationEnded,
    TlsFailed,
    open_conversation,
    tls_context,
)
from engine.smtp.terms import MAX_REPLY_CHARACTERS, EgressConfig, Identity, StageResult, Target
from tests.fakes.smtp import CLOSE, HANG, Action, FakeSmtp, Raw, Script, Wait, fake_smtp

HOST = "127.0.0.2"
ME = EgressConfig(Identity("probe.test", "probe@test"))
FLOOD = Raw(b"220-welcome welcome welcome\r\n" * 100, octets=8 * 1024 * 1024)


class Transcript:
    """Collects the lines that are traced."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, who: str, what: str) -> None:
        self.lines.append(what)


@asynccontextmanager
async def conversation(
    smtp: FakeSmtp, *, tls: bool = True, timeout_s: float = 2.0, trace: Transcript | None = None
) -> AsyncIterator[Conversation]:
    opened = await open_conversation(
        Target("mx.fake.test", HOST, smtp.port),
        ME,
        connect_timeout_s=timeout_s,
        command_timeout_s=timeout_s,
        tls_timeout_s=timeout_s,
        tls=tls_context() if tls else None,
        trace=trace or Transcript(),
    )
    try:
        yield opened
    finally:
        pipe = opened.quit()
        pipe.abort()
        await pipe.wait_closed()


async def probe(
    script: Script, *recipients: str, sender: str = "probe@test", utf8: bool = False
) -> tuple[list[StageResult | None], FakeSmtp]:
    async with fake_smtp({HOST: script}) as smtp, conversation(smtp) as opened:
        results = await opened.probe_recipients(sender, recipients, utf8=utf8, timeout_s=0.3)
    return results, smtp


def meanings(results: list[StageResult | None]) -> list[tuple[Stage, Meaning] | None]:
    return [(result.stage, result.meaning) if result else None for result in results]


@pytest.mark.parametrize(
    ("script", "stage", "meaning", "greeted"),
    [
        (Script(banner=CLOSE), Stage.BANNER, Meaning.DROPPED, False),
        (Script(banner=HANG), Stage.BANNER, Meaning.TIMED_OUT, False),
        (Script(banner=Raw(b"SSH-2.0-OpenSSH_9.2\r\n")), Stage.BANNER, Meaning.NOT_SMTP, False),
        (Script(banner=(FLOOD, CLOSE)), Stage.BANNER, Meaning.NOT_SMTP, False),
        (Script(banner=Raw(b"2" * 100_000)), Stage.BANNER, Meaning.NOT_SMTP, False),
        (Script(banner="250 hello"), Stage.BANNER, Meaning.NOT_SMTP, False),
        (Script(banner="554 No SMTP service here"), Stage.BANNER, Meaning.IP_BLOCKED, False),
        (Script(banner="421 4.7.0 Too many connections"), Stage.BANNER, Meaning.THROTTLED, False),
        (Script(banner="450 not now"), Stage.BANNER, Meaning.TEMPORARY, False),
        (Script(on={"EHLO": HANG}), Stage.EHLO, Meaning.TIMED_OUT, True),
        (Script(on={"EHLO": CLOSE}), Stage.EHLO, Meaning.DROPPED, True),
        (Script(on={"EHLO": Raw(b"what?\r\n")}), Stage.EHLO, Meaning.NOT_SMTP, True),
        (Script(on={"EHLO": "421 4.3.2 closing"}), Stage.EHLO, Meaning.THROTTLED, True),
        (Script(on={"EHLO": "451 later"}), Stage.EHLO, Meaning.TEMPORARY, True),
        (
            Script(on={"EHLO": "502 what?", "HELO": "550 your helo name is refused"}),
            Stage.EHLO,
            Meaning.HELO_REJECTED,
            True,
        ),
        (Script(on={"EHLO": ("554 go", CLOSE)}), Stage.EHLO, Meaning.HELO_REJECTED, True),
    ],
)
async def test_a_host_that_cannot_be_asked(
    script: Script, stage: Stage, meaning: Meaning, greeted: bool
) -> None:
    async with fake_smtp({HOST: script}) as smtp:
        with pytest.raises(ConversationEnded) as ended:
            async with conversation(smtp, timeout_s=0.2):
                pass
    assert (ended.value.result.stage, ended.value.result.meaning) == (stage, meaning)
    assert ended.value.greeted is greeted


@pytest.mark.parametrize("ip", [HOST, "::1"])
async def test_no_server_is_unreachable(ip: str) -> None:
    async with fake_smtp({HOST: Script()}) as smtp:
        port = smtp.port
    with pytest.raises(ConversationEnded) as ended:
        await open_conversation(
            Target("mx.fake.test", ip, port),
            ME,
            connect_timeout_s=1,
            command_timeout_s=1,
            tls_timeout_s=1,
            tls=None,
            trace=Transcript(),
        )
    assert ended.value.result.meaning is Meaning.UNREACHABLE


async def test_nothing_is_sent_before_the_banner_is_complete() -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    script = Script(banner=(Raw(b"220-one moment\r\n22"), pause, Raw(b"0 go on\r\n")))
    async with fake_smtp({HOST: script}) as smtp:

        async def open_and_quit() -> None:
            async with conversation(smtp):
                pass

        opening = asyncio.ensure_future(open_and_quit())
        await asyncio.wait_for(pause.reached.wait(), 5)
        for _ in range(50):
            await asyncio.sleep(0)
        assert smtp.seen[HOST].chunks == []
        pause.go_on.set()
        await opening
        assert smtp.commands(HOST)[0] == "EHLO probe.test"


async def test_helo_is_sent_where_ehlo_is_rejected() -> None:
    results, smtp = await probe(Script(on={"EHLO": "500 Command unrecognized"}), "user@test")
    assert meanings(results) == [(Stage.RCPT, Meaning.ACCEPTED)]
    assert smtp.commands(HOST)[:2] == ["EHLO probe.test", "HELO probe.test"]


async def test_recipients_are_pipelined_where_the_host_offers_it() -> None:
    script = Script(rcpt=[("^a@", "250 Ok"), (".*", "550 5.1.1 No such user")])
    results, smtp = await probe(script, "a@test", "b@test")
    assert meanings(results) == [
        (Stage.RCPT, Meaning.ACCEPTED),
        (Stage.RCPT, Meaning.MAILBOX_NOT_FOUND),
    ]
    batch = b"MAIL FROM:<probe@test>\r\nRCPT TO:<a@test>\r\nRCPT TO:<b@test>\r\n"
    assert any(chunk.startswith(batch) for chunk in smtp.seen[HOST].chunks)


async def test_commands_wait_for_replies_without_pipelining() -> None:
    results, smtp = await probe(Script(extensions=()), "a@test", "b@test")
    assert meanings(results) == [(Stage.RCPT, Meaning.ACCEPTED)] * 2
    assert b"MAIL FROM:<probe@test>\r\n" in smtp.seen[HOST].chunks
    assert b"RCPT TO:<a@test>\r\n" in smtp.seen[HOST].chunks


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
async def test_the_null_sender_gets_a_transaction_for_each_recipient(
    extensions: tuple[str, ...],
) -> None:
    results, smtp = await probe(Script(extensions=extensions), "a@test", "b@test", sender="")
    assert meanings(results) == [(Stage.RCPT, Meaning.ACCEPTED)] * 2
    assert smtp.commands(HOST)[1:6] == [
        "MAIL FROM:<>",
        "RCPT TO:<a@test>",
        "RSET",
        "MAIL FROM:<>",
        "RCPT TO:<b@test>",
    ]


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
async def test_a_refused_sender_is_the_result_of_every_recipient(
    extensions: tuple[str, ...],
) -> None:
    script = Script(extensions=extensions, on={"MAIL": "550 5.7.1 not from you"})
    results, _ = await probe(script, "a@test", "b@test")
    assert meanings(results) == [(Stage.MAIL, Meaning.SENDER_REJECTED)] * 2


RCPT_FAULTS: list[tuple[Action, Meaning]] = [
    (HANG, Meaning.TIMED_OUT),
    (CLOSE, Meaning.DROPPED),
    (Raw(b"what?\r\n"), Meaning.NOT_SMTP),
    (Raw(b"99 short\r\n"), Meaning.NOT_SMTP),
    (Raw(b"950 no such class\r\n"), Meaning.NOT_SMTP),
    (Raw(b"250-more\r\n" * 100, octets=1024 * 1024), Meaning.NOT_SMTP),
    (Raw(b"250 " + b"x" * 100_000), Meaning.NOT_SMTP),
    (("421 4.4.2 closing", CLOSE), Meaning.TEMPORARY),
    ("421 4.7.0 too many errors", Meaning.THROTTLED),
]


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
@pytest.mark.parametrize(("fault", "meaning"), RCPT_FAULTS)
async def test_a_fault_at_one_recipient_leaves_later_ones_without_result(
    fault: Action, meaning: Meaning, extensions: tuple[str, ...]
) -> None:
    script = Script(extensions=extensions, rcpt=[("^b@", fault), (".*", "250 Ok")])
    results, _ = await probe(script, "a@test", "b@test", "c@test")
    assert meanings(results) == [(Stage.RCPT, Meaning.ACCEPTED), (Stage.RCPT, meaning), None]


async def test_a_transaction_after_another_is_reset_first() -> None:
    async with fake_smtp({HOST: Script()}) as smtp, conversation(smtp) as opened:
        for name in ("a", "b"):
            await opened.probe_recipients("probe@test", [f"{name}@test"], utf8=False, timeout_s=1)
        assert smtp.commands(HOST)[1:] == [
            "MAIL FROM:<probe@test>",
            "RCPT TO:<a@test>",
            "RSET",
            "MAIL FROM:<probe@test>",
            "RCPT TO:<b@test>",
        ]


async def test_many_recipients_on_one_connection_keep_their_order() -> None:
    script = Script(
        rcpt=[("[02468]@", "250 2.1.5 Ok"), (".*", "550 5.1.1 No\n550 5.1.1 such user")]
    )
    results, smtp = await probe(script, *(f"u{number}@test" for number in range(300)))
    assert [result.reply.code for result in results if result and result.reply] == [250, 550] * 150
    assert smtp.seen[HOST].connections == 1


@pytest.mark.parametrize(
    "recipient", ["a@test\r\nRSET", "a@test\n", "a\x00b@test", "a\tb@test", "a\x7f@test"]
)
async def test_an_address_cannot_inject_a_command(recipient: str) -> None:
    async with fake_smtp({HOST: Script()}) as smtp, conversation(smtp) as opened:
        with pytest.raises(ValueError, match="control character"):
            await opened.probe_recipients("probe@test", [recipient], utf8=False, timeout_s=1)
        assert smtp.commands(HOST) == ["EHLO probe.test"]


async def test_smtputf8_is_used_only_where_it_is_offered() -> None:
    results, smtp = await probe(Script(), "jörg@test", utf8=True)
    assert meanings(results) == [(Stage.EHLO, Meaning.SMTPUTF8_UNSUPPORTED)]
    assert not [command for command in smtp.commands(HOST) if "MAIL" in command]

    with_smtputf8 = Script(extensions=("PIPELINING", "SMTPUTF8"))
    results, smtp = await probe(with_smtputf8, "jörg@test", utf8=True)
    assert meanings(results) == [(Stage.RCPT, Meaning.ACCEPTED)]
    assert smtp.commands(HOST)[1:3] == ["MAIL FROM:<probe@test> SMTPUTF8", "RCPT TO:<jörg@test>"]


async def test_tls_is_started_where_it_is_offered() -> None:
    results, smtp = await probe(Script(tls=True, tls_required=True), "user@test")
    assert meanings(results) == [(Stage.RCPT, Meaning.ACCEPTED)]
    assert smtp.seen[HOST].tls == 1
    assert smtp.commands(HOST)[:3] == ["EHLO probe.test", "STARTTLS", "EHLO probe.test"]


@pytest.mark.parametrize("tls", [True, False])
async def test_starttls_is_sent_only_with_a_tls_context(tls: bool) -> None:
    async with fake_smtp({HOST: Script(tls=True)}) as smtp:
        async with conversation(smtp, tls=tls) as opened:
            assert opened.tls is tls
        assert smtp.seen[HOST].tls == tls


@pytest.mark.parametrize(
    "script", [Script(tls=True, broken_tls=True), Script(tls=True, on={"STAR": CLOSE})]
)
async def test_a_failed_tls_handshake_raises(script: Script) -> None:
    async with fake_smtp({HOST: script}) as smtp:
        with pytest.raises(TlsFailed):
            async with conversation(smtp):
                pass


async def test_a_rejected_starttls_goes_on_in_clear_text() -> None:
    script = Script(tls=True, on={"STAR": "454 4.7.0 TLS not available"})
    results, smtp = await probe(script, "user@test")
    assert meanings(results) == [(Stage.RCPT, Meaning.ACCEPTED)]
    assert smtp.seen[HOST].connections == 1


async def test_the_transcript_has_both_sides() -> None:
    transcript = Transcript()
    async with fake_smtp({HOST: Script()}) as smtp, conversation(smtp, trace=transcript) as opened:
        await opened.probe_recipients("probe@test", ["user@test"], utf8=False, timeout_s=1)
    assert transcript.lines[1:] == [
        "< 220 mx.fake.test ESMTP",
        "> EHLO probe.test",
        "< 250 mx.fake.test PIPELINING ENHANCEDSTATUSCODES 8BITMIME",
        "> MAIL FROM:<probe@test>",
        "> RCPT TO:<user@test>",
        "< 250 2.0.0 Ok",
        "< 250 2.1.5 Ok",
        "> QUIT",
    ]


async def test_a_long_reply_is_cut() -> None:
    reply = "\n".join(["550 5.1.1 no such user", *["550 " + "x" * 480] * 60])
    results, _ = await probe(Script(rcpt=[("", reply)]), "a@b.test")
    assert results[0] is not None
    assert results[0].meaning is Meaning.MAILBOX_NOT_FOUND
    assert results[0].reply is not None
    assert len(results[0].reply.text) == MAX_REPLY_CHARACTERS


async def test_a_long_refusal_at_the_banner_is_cut() -> None:
    script = Script(
        banner="\n".join(["554 blocked using zen.spamhaus.org", *["554 " + "x" * 480] * 9])
    )
    async with fake_smtp({HOST: script}) as smtp:
        with pytest.raises(ConversationEnded) as ended:
            async with conversation(smtp):
                pass
    assert ended.value.result.meaning is Meaning.IP_BLOCKED
    assert ended.value.result.reply is not None
    assert len(ended.value.result.reply.text) == MAX_REPLY_CHARACTERS


async def test_text_that_is_not_utf8_is_decoded_as_latin_1() -> None:
    script = Script(rcpt=[(".*", Raw("550 5.1.1 Empfänger unbekannt\r\n".encode("latin-1")))])
    results, _ = await probe(script, "user@test")
    assert results[0] is not None
    assert results[0].reply is not None
    assert results[0].reply.text == "5.1.1 Empfänger unbekannt"


async def test_quit_does_not_wait_for_the_reply() -> None:
    async with fake_smtp({HOST: Script(on={"QUIT": HANG})}) as smtp:
        async with conversation(smtp) as opened:
            pipe = opened.quit()
            assert not pipe.closed
            assert not opened.usable
        assert pipe.closed


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT"])
async def test_a_cancelled_conversation_closes_its_connection(verb: str) -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    script = Script(on={verb: (pause, HANG)}) if verb != "RCPT" else Script(rcpt=[("", pause)])
    async with fake_smtp({HOST: script}) as smtp:

        async def run() -> None:
            async with conversation(smtp, timeout_s=30) as opened:
                await opened.probe_recipients("probe@test", ["user@test"], utf8=False, timeout_s=30)

        running = asyncio.ensure_future(run())
        await asyncio.wait_for(pause.reached.wait(), 5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        pause.go_on.set()
        await asyncio.wait_for(smtp.seen[HOST].idle.wait(), 1)


EXCHANGE = (b"MAIL FROM:<probe@test>", b"RCPT TO:<user@a.test>", b"RCPT TO:<b@a.test>", b"RSET")


@pytest.mark.parametrize(
    ("script", "codes", "broken", "writes"),
    [
        (Script(), [250, 250, 250, 250], None, 1),
        (Script(extensions=()), [250, 250, 250, 250], None, 4),
        (Script(on={"MAIL": "550 no"}), [550, 250, 250, 250], None, 1),
        (Script(on={"MAIL": "550 no"}, extensions=()), [550], None, 1),
        (Script(rcpt=[("^user", ("421 bye", CLOSE))]), [250, 421], Meaning.DROPPED, 1),
        (Script(rcpt=[("^user", CLOSE)]), [250], Meaning.DROPPED, 1),
        (Script(rcpt=[("^user", CLOSE)], extensions=()), [250], Meaning.DROPPED, 2),
        (Script(rcpt=[("^user", HANG)]), [250], Meaning.TIMED_OUT, 1),
        (Script(rcpt=[("^user", Raw(b"what?\r\n"))]), [250], Meaning.NOT_SMTP, 1),
    ],
)
async def test_exchange(
    script: Script, codes: list[int], broken: Meaning | None, writes: int
) -> None:
    async with fake_smtp({HOST: script}) as smtp, conversation(smtp) as opened:
        before = len(smtp.seen[HOST].chunks)
        replies, why = await opened.exchange(EXCHANGE, 0.3)
        assert [reply.code for reply in replies] == codes
        assert why is broken
        assert len(smtp.seen[HOST].chunks) - before == writes
        assert opened.usable is (broken is None)


@pytest.mark.parametrize(("max_refusals", "read"), [(0, 3), (1, 2), (2, 3)])
async def test_after_some_refusals_replies_have_a_shorter_time_out(
    max_refusals: int, read: int
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    script = Script(rcpt=[("^user", "550 no"), ("^b", (Wait(reached, go_on), "250 Ok"))])
    async with fake_smtp({HOST: script}) as smtp, conversation(smtp) as opened:
        asyncio.get_running_loop().call_later(0.3, go_on.set)
        replies, why = await opened.exchange(
            EXCHANGE[:3], 5.0, max_refusals=max_refusals, refused_timeout_s=0.05
        )
        assert len(replies) == read
        assert why is (None if read == 3 else Meaning.TIMED_OUT)
        go_on.set()
