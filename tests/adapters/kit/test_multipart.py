"""Forms with files, read back by the server's own reader."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.wire import WireRequest
from adapters.kit.multipart import FormField, FormFile, multipart_body

names = st.text("abc_", min_size=1, max_size=8)
parts = st.lists(
    st.builds(FormField, names, st.text(st.characters(blacklist_categories=["Cs"])))
    | st.builds(FormFile, names, names, st.binary()),
    max_size=5,
)


@given(parts)
def test_parts_are_read_back_in_their_order(sent: list[FormField | FormFile]) -> None:
    content_type, body = multipart_body(sent)
    request = WireRequest("POST", "/", headers={"content-type": content_type}, body=body)
    read = request.parts if sent else ()
    assert [(part.name, part.content, part.filename) for part in read] == [
        (part.name, part.value.encode(), None)
        if isinstance(part, FormField)
        else (part.name, part.content, part.filename)
        for part in sent
    ]


def test_a_file_has_its_media_type() -> None:
    _, body = multipart_body((FormFile("file", "a.csv", b"a@x.test\n"),))
    assert b'name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\na@x.test\n\r\n' in body


def test_other_contents_have_another_boundary() -> None:
    one, _ = multipart_body((FormField("a", "1"),))
    other, _ = multipart_body((FormField("a", "2"),))
    assert one != other
