"""Settings: their sources, which source outranks which, and the messages about mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.probe import ProbeConfig
from engine.smtp.terms import EgressConfig, Identity, SocksProxy
from gateway.settings import Secret, SettingsError, Strategy, load, secrets_in
from gateway.settings.egress import UnknownEgress, probe_config
from gateway.settings.load import variable_name
from gateway.settings.model import Settings, known_settings

UPSTREAM = '{name="main", dialect="emailable", base_url="https://host/v1/", api_key="env:KEY"}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "veriplex.toml"


def test_without_file_and_environment_all_settings_have_their_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None, {"PATH": "/bin", "VERIPLEX_TESTBED": "/somewhere"})
    assert settings == Settings()
    assert settings.server.port == 8025
    assert settings.storage.url == "sqlite:///veriplex.db"
    assert settings.engine.greylist_retries_s == (5.0, 60.0, 300.0)
    assert settings.routing.strategy is Strategy.FAILOVER
    assert settings.sources == ("local",)


def test_the_given_file_outranks_the_variables_which_outranks_the_one_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, port in (("veriplex", 1001), ("named", 1002), ("given", 1003)):
        (tmp_path / f"{name}.toml").write_text(f"[server]\nport = {port}\n")
    named = {"VERIPLEX_CONFIG": str(tmp_path / "named.toml")}
    assert load(None, {}).server.port == 1001
    assert load(None, named).server.port == 1002
    assert load(tmp_path / "given.toml", named).server.port == 1003


def test_every_setting_of_a_file_is_read(file: Path) -> None:
    file.write_text(
        """
        [server]
        host = "::1"
        public_url = "https://verify.example.com/"
        [engine]
        dns_servers = ["127.0.0.53", "[::1]:5353"]
        deadline_s = 20
        [cache]
        ttl_s = { risky = 7 }
        [routing]
        order = ["main"]
        [[upstreams]]
        name = "main"
        dialect = "emailable"
        base_url = "https://api.emailable.com/v1"
        api_key = "env:EMAILABLE_API_KEY"
        """
    )
    settings = load(file, {"EMAILABLE_API_KEY": "live_0123"}, dialects=["emailable"])
    assert settings.server.url() == "https://verify.example.com"
    assert settings.engine.dns_servers == ("127.0.0.53:53", "[::1]:5353")
    assert settings.engine.deadline_s == 20.0
    assert (settings.cache.ttl_s.risky, settings.cache.ttl_s.unknown) == (7, 300)
    assert settings.sources == ("main",)
    assert settings.upstreams[0].api_key == Secret("env:EMAILABLE_API_KEY", "live_0123")


@pytest.mark.parametrize(
    ("variable", "text", "loc", "value"),
    [
        ("VERIPLEX_SERVER__PORT", "0", ("server", "port"), 0),
        ("VERIPLEX_SERVER__HOST", "10", ("server", "host"), "10"),
        ("VERIPLEX_ENGINE__DEADLINE_S", "2.5", ("engine", "deadline_s"), 2.5),
        ("VERIPLEX_ENGINE__DEADLINE_S", "2", ("engine", "deadline_s"), 2.0),
        ("VERIPLEX_ENGINE__MAIL_FROM", "", ("engine", "mail_from"), ""),
        ("VERIPLEX_ENGINE__ALLOW_PRIVATE_NETWORKS", "true", None, True),
        ("VERIPLEX_ENGINE__ALLOW_PRIVATE_NETWORKS", "1", None, True),
        ("VERIPLEX_ENGINE__ALLOW_PRIVATE_NETWORKS", "False", None, False),
        ("VERIPLEX_ENGINE__DNS_SERVERS", '["127.0.0.53:53"]', None, ("127.0.0.53:53",)),
        ("VERIPLEX_ENGINE__GREYLIST_RETRIES_S", "[]", None, ()),
        ("VERIPLEX_CACHE__TTL_S__UNKNOWN", "9", ("cache", "ttl_s", "unknown"), 9),
        ("VERIPLEX_CACHE__TTL_S", "{unknown = 9}", ("cache", "ttl_s", "unknown"), 9),
        ("VERIPLEX_CACHE__TTL_S", '{"unknown": 9}', ("cache", "ttl_s", "unknown"), 9),
        ("VERIPLEX_ROUTING__ORDER", '["local"]', ("routing", "order"), ("local",)),
        ("VERIPLEX_LOG__LEVEL", "debug", ("log", "level"), "debug"),
    ],
)
def test_a_variable_outranks_the_file(
    file: Path, variable: str, text: str, loc: tuple[str, ...] | None, value: object
) -> None:
    file.write_text('[server]\nport = 1\nhost = "h"\n[engine]\ndeadline_s = 1\n')
    found: object = load(file, {variable: text})
    for part in loc or variable.removeprefix("VERIPLEX_").lower().split("__"):
        found = getattr(found, part)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("engine", "helo", "[192.0.2.1]"),
        ("engine", "mail_from", "probe@verifier.test"),
        ("engine", "dns_servers", ("[::1]:53",)),
        ("server", "forwarded_allow_ips", ("*", "10.0.0.0/8", "::1")),
        ("storage", "url", "sqlite:///:memory:"),
    ],
)
def test_unusual_but_valid_values_pass(file: Path, section: str, name: str, value: object) -> None:
    file.write_text(f"[{section}]\n{name} = {json.dumps(value)}\n")
    assert getattr(getattr(load(file, {}), section), name) == value


def test_upstreams_can_come_from_the_environment_and_follow_local_by_default(file: Path) -> None:
    file.write_text("")
    settings = load(file, {"VERIPLEX_UPSTREAMS": f"[{UPSTREAM}]", "KEY": "sekrit"})
    assert settings.upstreams[0].base_url == "https://host/v1"
    assert settings.sources == ("local", "main")


def test_a_secret_comes_from_a_file_and_is_never_shown(tmp_path: Path, file: Path) -> None:
    (tmp_path / "key").write_text("sekrit\n")
    file.write_text(
        f'[[upstreams]]\nname = "a"\ndialect = "validto"\nbase_url = "http://h/v1"\n'
        f'api_key = "file:{tmp_path}/key"\n'
    )
    settings = load(file, {})
    assert settings.upstreams[0].api_key.value == "sekrit"
    assert "sekrit" not in repr(settings) + str(settings) + str(settings.upstreams[0].api_key)


def test_a_proxy_is_a_url_or_a_secret_and_its_password_is_never_shown(file: Path) -> None:
    file.write_text(
        '[transport]\nproxy = "socks5://u:sekrit@p.test:1080/"\n' + _upstream(proxy="env:PROXY")
    )
    environ = {"KEY": "k", "PROXY": "http://u:sekrit@q.test:3128"}
    settings = load(file, environ)
    assert settings.transport.proxy == "socks5://u:sekrit@p.test:1080"
    assert settings.upstreams[0].proxy == "http://u:sekrit@q.test:3128"
    assert "sekrit" not in repr(settings) + str(settings)
    assert load(file, {}, secrets=False).upstreams[0].proxy == ""
    with pytest.raises(SettingsError, match=r"upstreams\[0\].proxy: environment variable PROXY is"):
        load(file, {"KEY": "k"})
    for wrong in ("q.test?sekrit", "ftp://u:sekrit@q.test"):
        with pytest.raises(SettingsError, match=r"proxy: should be a proxy's URL") as caught:
            load(file, {**environ, "PROXY": wrong})
        assert "sekrit" not in str(caught.value)


def test_a_proxy_of_the_environment_matters_only_with_upstreams(file: Path) -> None:
    file.write_text("")
    environ = {"HTTPS_PROXY": "ftp://u:sekrit@p.test", "KEY": "k"}
    load(file, environ)
    with pytest.raises(
        SettingsError, match="environment variable HTTPS_PROXY: should be"
    ) as caught:
        load(file, {**environ, "VERIPLEX_UPSTREAMS": f"[{UPSTREAM}]"})
    assert "sekrit" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '[transport]\nproxy = "sekrit"',
        '[storage]\nurl = "postgresql://u:sekrit@host/db"',
        '[shared]\nurl = "redis://u:sekrit@host"',
        '[shared]\nurl = "rediss://:sekrit@host/?x=1"',
        '[shared]\nurl = "valkey://host"\npassword = "sekrit"',
        '[server]\npublic_url = "http://u:sekrit@host/?q"',
        '[engine]\nhelo = "http://u:sekrit@host"',
        'upstreams = "sekrit"',
        '[[upstreams]]\napi_key = "sekrit"',
        '[[upstreams]]\nspare_api_keys = "sekrit"',
        '[[upstreams]]\nspare_api_keys = ["env:KEY", "sekrit"]',
        '[[upstreams]]\nbase_url = "http://u:sekrit@host/?q=1"',
        '[[upstreams]]\nproxy = "sekrit proxy"',
        '[[upstreams]]\napi_kee = "sekrit"',
    ],
)
def test_a_mistake_does_not_repeat_what_may_be_a_secret(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file, {"KEY": "k"})
    assert "sekrit" not in str(caught.value)


def test_without_secrets_a_missing_one_does_not_matter(file: Path) -> None:
    file.write_text("")
    settings = load(file, {"VERIPLEX_UPSTREAMS": f"[{UPSTREAM}]"}, secrets=False)
    assert settings.upstreams[0].api_key == Secret("env:KEY", "")


def _upstream(**changes: str) -> str:
    fields = {"name": "a", "dialect": "emailable", "base_url": "http://h", "api_key": "env:KEY"}
    lines = [f'{name} = "{value}"' for name, value in (fields | changes).items()]
    return "\n".join(["[[upstreams]]", *lines])


MISTAKES = [
    # the file's text, its message
    ("[server]\nprot = 1", "line 2: server.prot: unknown setting; did you mean server.port?"),
    ("[sever]\nport = 1", "line 1: sever: unknown setting; did you mean server?"),
    ("[engine]\nhost = 'x'", "line 2: engine.host: unknown setting; did you mean server.host?"),
    ("[log]\nzzz = 1", "line 2: log.zzz: unknown setting; known here: format, level"),
    ("port = 1", "line 1: port: unknown setting; did you mean server.port?"),
    ("server = { prot = 1 }", "line 1: server.prot: unknown setting; did you mean server.port?"),
    ("server.prot = 1", "line 1: server.prot: unknown setting; did you mean server.port?"),
    ("[cache.ttl_s]\nriski = 1", "line 2: cache.ttl_s.riski: unknown setting; did you mean"),
    ("server = 1", "line 1: server: should be an object (got 1)"),
    ("[server]\n\nport = 65536", "line 3: server.port: should be less than or equal to 65535"),
    ("[server]\nport = '80'", "line 2: server.port: should be a valid integer (got '80')"),
    ("[server]\nport = true", "line 2: server.port: should be a valid integer (got True)"),
    ("[server]\npublic_url = 'host:80'", "line 2: server.public_url: should be a URL such as"),
    ("[server]\nssl_certfile = 'c'", "server.ssl_keyfile: ssl_certfile and ssl_keyfile belong"),
    ("[server]\nforwarded_allow_ips = ['x']", "line 2: server.forwarded_allow_ips[0]: should be"),
    ("[storage]\nurl = 'mysql://u:pw@h/d'", "line 2: storage.url: should be sqlite:///PATH"),
    ("[shared]\nurl = 'http://h'", "line 2: shared.url: should be valkey://HOST:PORT, redis"),
    ("[shared]\nurl = 'redis://h/a'", "line 2: shared.url: should be valkey://HOST:PORT, redis"),
    ("[shared]\nurl = 'redis://h:0'", "line 2: shared.url: should be valkey://HOST:PORT, redis"),
    ("[shared]\nurl = 'redis://u:p@h'", "line 2: shared.url: should have no password; shared."),
    ("[shared]\npassword = 'env:KEY'", "shared: password: needs a url like valkey://HOST"),
    ("[shared]\nprefix = 'a:b'", "line 2: shared.prefix: string should match"),
    ("[shared]\ntimeout_ms = 0", "line 2: shared.timeout_ms: should be greater than or equal"),
    ("[engine]\nhelo = 'a b'", "line 2: engine.helo: should be a host name"),
    ("[engine]\nmail_from = 'a'", "line 2: engine.mail_from: should be an address"),
    ("[engine]\ndns_servers = ['a']", "line 2: engine.dns_servers[0]: should be IP:PORT"),
    ("[engine]\ndns_servers = ['::1:99999']", "line 2: engine.dns_servers[0]: should be IP:PORT"),
    ("[engine]\ndns_servers = ['1.2.3.4:0']", "line 2: engine.dns_servers[0]: the port should"),
    ("[engine]\ndeadline_s = 0", "line 2: engine.deadline_s: should be greater than 0 (got 0)"),
    ("[engine]\ndeadline_s = nan", "line 2: engine.deadline_s: should be a finite number"),
    ("[engine]\nsmtp_port = 2.5", "line 2: engine.smtp_port: should be a valid integer (got 2.5)"),
    ("[log]\nlevel = 'loud'", "line 2: log.level: should be 'debug', 'info', 'warning' or 'error'"),
    (
        "[routing]\nstrategy = 'best'",
        "line 2: routing.strategy: should be 'failover', 'weighted', 'cheapest',",
    ),
    ("[routing]\norder = ['locl']", "line 2: routing.order[0]: no upstream is named 'locl'; did"),
    ("[routing]\norder = ['local', 'local']", "line 2: routing.order[1]: 'local' is named twice"),
    ("[[upstreams]]\nname = 'a'", "line 1: upstreams[0].dialect: is required"),
    (_upstream(name="cache"), "line 2: upstreams[0].name: 'cache' is reserved"),
    (_upstream() + "\n" + _upstream(), "line 7: upstreams[1].name: two upstreams are named 'a'"),
    (_upstream(dialect="emailabel"), "line 3: upstreams[0].dialect: unknown dialect 'emailabel';"),
    (_upstream(base_url="ftp://h"), "line 4: upstreams[0].base_url: should be a URL"),
    (_upstream(api_key="env:OTHER"), "line 5: upstreams[0].api_key: environment variable OTHER is"),
    (_upstream(api_key="file:/none"), "line 5: upstreams[0].api_key: cannot read /none: No such"),
    (_upstream(api_key="file:/"), "line 5: upstreams[0].api_key: cannot read /: Is a directory"),
    (_upstream(api_key="file:/dev/null"), "line 5: upstreams[0].api_key: /dev/null is empty"),
    (_upstream(base_url="http://h:99999"), "line 4: upstreams[0].base_url: should be a URL"),
    ("[server\nport = 1", "veriplex.toml: is not TOML: "),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_in_the_file_is_named_with_its_line(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file, {"KEY": "k"}, dialects=["emailable", "validto"])
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("SERVER__PROT", "1", "unknown setting; did you mean VERIPLEX_SERVER__PORT?"),
        ("CONFG", "x", "unknown setting; did you mean VERIPLEX_CONFIG?"),
        ("SERVER", "{}", "unknown setting"),
        ("SERVER__PORT", "eighty", "server.port: should be a number (got 'eighty')"),
        ("SERVER__PORT", "", "server.port: should be a number (got '')"),
        ("SERVER__PORT", "-1", "server.port: should be greater than or equal to 0 (got -1)"),
        ("SANDBOX__PUBLISHED", "maybe", "sandbox.published: should be true or false"),
        ("ENGINE__DNS_SERVERS", "[1.2.3.4", "engine.dns_servers: should be a TOML or JSON value"),
        ("ENGINE__DNS_SERVERS", "['x']", "engine.dns_servers[0]: should be IP:PORT"),
        ("UPSTREAMS", "[1]", "upstreams[0]: should be an object (got 1)"),
    ],
)
def test_a_mistake_in_a_variable_is_named(
    file: Path, variable: str, text: str, message: str
) -> None:
    file.write_text("")
    with pytest.raises(SettingsError) as caught:
        load(file, {f"VERIPLEX_{variable}": text})
    assert f"environment variable VERIPLEX_{variable}: {message}" in str(caught.value)


def test_all_mistakes_are_reported_at_once(file: Path) -> None:
    file.write_text("[server]\nprot = 1\nport = -1\n[engine]\nsmtp_port = 0\n")
    with pytest.raises(SettingsError) as caught:
        load(file, {"VERIPLEX_NON__SENSE": "1"})
    assert sorted(problem.setting for problem in caught.value.problems) == [
        "",
        "engine.smtp_port",
        "server.port",
        "server.prot",
    ]


def test_a_literal_key_is_refused_without_being_repeated(file: Path) -> None:
    file.write_text(_upstream(api_key="live_sekrit", base_url="h?apikey=sekrit"))
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    assert "api_key: should be a reference, env:NAME or file:PATH" in str(caught.value)
    assert "sekrit" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read: No such file"), (b"\xff\xfe", "is not UTF-8 text")],
)
def test_a_file_that_cannot_be_read_is_an_error(
    file: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        load(None, {"VERIPLEX_CONFIG": str(file)})


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("port = 0", "http://127.0.0.1:4711"),
        ('host = "0.0.0.0"', "http://127.0.0.1:4711"),
        ('host = "::"', "http://[::1]:4711"),
        ('host = "verify.test"', "http://verify.test:4711"),
        ('ssl_certfile = "c"\nssl_keyfile = "k"', "https://127.0.0.1:4711"),
        ('public_url = "https://verify.test"', "https://verify.test"),
    ],
)
def test_the_public_url_follows_from_the_listening_address(
    file: Path, server: str, url: str
) -> None:
    file.write_text(f"[server]\n{server}\n")
    assert load(file, {}).server.url(4711) == url


def test_every_setting_has_a_description_and_its_own_variable() -> None:
    named = list(known_settings())
    assert all(
        info.description
        for loc, info in named
        if loc[0] not in ("egress", "keys", "upstreams", "routes")
    )
    assert len({variable_name(loc) for loc, _ in named}) == len(named)


def test_the_engine_has_the_defaults_of_the_settings() -> None:
    assert probe_config(Settings()) == ProbeConfig()


def test_the_only_way_out_can_have_a_name() -> None:
    settings = Settings.model_validate({"engine": {"egress": "vienna", "helo": "v.example.com"}})
    (egress,) = probe_config(settings).effective_egresses
    assert (egress.name, egress.identity.helo) == ("vienna", "v.example.com")


def test_a_worker_is_not_dead_before_its_second_sign_of_life() -> None:
    with pytest.raises(ValidationError, match="at least twice heartbeat_s"):
        Settings.model_validate({"work": {"heartbeat_s": 4}})


# -- ways out ----------------------------------------------------------------------------


def _egress(**values: object) -> str:
    rows = {"name": "one", **values}
    return "[[egress]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in rows.items())


def test_without_egresses_the_probe_has_the_settings_of_the_engine(file: Path) -> None:
    file.write_text('[engine]\nhelo = "probe.test"\nconnections_per_host = 2\n')
    (only,) = probe_config(load(file, {})).effective_egresses
    assert only == EgressConfig(Identity("probe.test", ""), connections_per_host=2)
    assert only.name == "default"


def test_an_egress_has_what_it_leaves_out_from_the_engine(file: Path) -> None:
    file.write_text(
        '[engine]\nhelo = "probe.test"\nmail_from = "p@a.test"\n'
        + _egress(source_address="127.0.1.1", operators=["Google"], weight=2)
        + _egress(name="two", proxy="socks5://u%3A:p%2Fw@[::1]:1081", helo="two.test")
        + _egress(
            name="three", proxy="socks5://h.test", mail_from="q@a.test", connections_per_host=9
        )
    )
    one, two, three = probe_config(load(file, {})).egresses
    assert one == EgressConfig(
        Identity("probe.test", "p@a.test"),
        "one",
        "127.0.1.1",
        weight=2.0,
        operators=frozenset({"google"}),
    )
    assert two.proxy == SocksProxy("::1", 1081, "u:", "p/w")
    assert two.proxy.name == "[::1]:1081"
    assert two.identity == Identity("two.test", "p@a.test")
    assert three.proxy == SocksProxy("h.test", 1080)
    assert (three.identity.sender, three.connections_per_host) == ("q@a.test", 9)


@pytest.mark.parametrize(
    ("values", "setting", "message"),
    [
        ({"source_address": "192.0.2.9"}, "source_address", "this machine does not have the"),
        ({"source_address": "2001:db8::9"}, "source_address", "this machine does not have the"),
        ({"source_address": "here"}, "source_address", "should be an IP address"),
        ({"proxy": "http://h:3128"}, "proxy", "should be a SOCKS5 proxy"),
        ({"proxy": "socks5h://h:1080"}, "proxy", "names are resolved here"),
        ({"proxy": "socks5://u:sekrit@h:1x"}, "proxy", "should be a proxy's URL"),
        ({"proxy": "socks5://sekrit@h:1"}, "proxy", "both a user name and a password"),
        ({"proxy": f"socks5://u:{'sekrit' * 50}@h:1"}, "proxy", "at most 255 characters"),
        ({"proxy": "socks5://u:sekrit%C3%A9@h:1"}, "proxy", "should be ASCII"),
        ({"proxy": "env:UNSET"}, "proxy", "environment variable UNSET is not set"),
        ({"weight": -1}, "weight", "greater than or equal to 0"),
        ({"name": "A b"}, "name", "match pattern"),
        ({"operators": ["a"], "except_operators": ["a"]}, "operators[0]", "in except_operators"),
        ({"sourc_address": "127.0.1.1"}, "sourc_address", "did you mean egress.source_address"),
    ],
)
def test_a_mistake_in_an_egress_is_named(
    file: Path, values: dict[str, object], setting: str, message: str
) -> None:
    file.write_text(_egress(**values))
    with pytest.raises(SettingsError) as refused:
        load(file, {})
    text = str(refused.value)
    assert f"egress[0].{setting}: " in text
    assert message in text
    assert str(file) in text
    assert "sekrit" not in text


def test_two_egresses_have_two_names(file: Path) -> None:
    file.write_text(_egress() + _egress())
    with pytest.raises(SettingsError, match=r"egress\[1\].name: two egresses are named 'one'"):
        load(file, {})


def test_the_password_of_an_egress_is_never_shown(tmp_path: Path, file: Path) -> None:
    (tmp_path / "url").write_text("socks5://u:sekrit@h.test:1\n")
    file.write_text(
        _egress(proxy="socks5://u:sekrit@h.test:1")
        + _egress(name="two", proxy="env:PROXY")
        + _egress(name="three", proxy=f"file:{tmp_path}/url")
    )
    settings = load(file, {"PROXY": "socks5://u:sekrit@h.test:1"})
    egresses = probe_config(settings).egresses
    assert {egress.proxy for egress in egresses} == {SocksProxy("h.test", 1, "u", "sekrit")}
    assert "sekrit" not in repr(settings) + str(settings) + repr(egresses)
    assert "sekrit" in secrets_in(settings)


def test_only_commands_that_probe_need_the_egresses(file: Path) -> None:
    file.write_text(_egress(proxy="env:UNSET") + _egress(name="two", source_address="192.0.2.9"))
    settings = load(file, {}, secrets=False, probing=False)
    with pytest.raises(ValueError, match="without the secrets"):
        probe_config(settings)
    with pytest.raises(SettingsError) as refused:
        load(file, {}, secrets=False)
    assert "UNSET is not set" in str(refused.value)


def test_one_egress_can_be_used_alone_for_all_operators(file: Path) -> None:
    file.write_text(_egress(operators=["a.test"]) + _egress(name="two"))
    settings = load(file, {})
    (only,) = probe_config(settings, only="one").egresses
    assert only.serves("b.test")
    with pytest.raises(UnknownEgress, match="no egress is named 'on'; did you mean one"):
        probe_config(settings, only="on")
    file.write_text("")
    assert probe_config(load(file, {}), only="default").egresses[0].name == "default"


def test_egresses_can_come_from_the_environment(file: Path) -> None:
    file.write_text("")
    variable = '[{name = "one", source_address = "127.0.1.1"}]'
    (egress,) = load(file, {"VERIPLEX_EGRESS": variable}).egress
    assert (egress.name, egress.source_address) == ("one", "127.0.1.1")
