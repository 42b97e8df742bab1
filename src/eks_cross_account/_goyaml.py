"""YAML as the verifier reads it: sigs.k8s.io/yaml over goyaml.v2, YAML 1.1 with Go's own turns. Touches nothing.

``to_json`` is what encoding/json is then given, ``compose`` the nodes that goyaml.v2 fills a slice from. PyYAML's pure
scanner does the reading, imported at the first call, with the methods replaced where goyaml's scannerc.go differs;
never libyaml, so that an answer does not depend on how PyYAML was installed.
"""

from __future__ import annotations

import binascii
import functools
import math
import re
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from eks_cross_account import _gourl
from eks_cross_account._printable import printable
from eks_cross_account.errors import EksTokenError

# --- YAML 1.1 as sigs.k8s.io/yaml over goyaml.v2 reads it ------------------------------------------------------------

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_PREFIX = "tag:yaml.org,2002:"
_STR, _BOOL, _INT, _FLOAT, _NULL = (_PREFIX + name for name in ("str", "bool", "int", "float", "null"))
_TIMESTAMP, BINARY, _MERGE = (_PREFIX + name for name in ("timestamp", "binary", "merge"))
_RESOLVABLE = ("", _STR, _BOOL, _INT, _FLOAT, _NULL, _TIMESTAMP)
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
# strconv.ParseInt with base 0, and goyaml's own reading of 0b with a sign behind it
_INTEGER = re.compile(
    r"0b(?P<signed>[+-][01]+)"
    r"|([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|([1-9][0-9]*|0))"
)
_FLOAT_TEXT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_POINT_FLOAT = re.compile(r"\.[0-9](?:_?[0-9])*(?:[eE][-+]?[0-9](?:_?[0-9])*)?")  # strconv.ParseFloat takes these _
_TIME_OF_DAY = r"(?:[01]?[0-9]|2[0-3])(?::[0-5]?[0-9]){2}(?:[.,][0-9]+)?"
_ZONE = r"(?:Z|[+-](?:[01][0-9]|2[0-4]):(?:[0-5][0-9]|60))"  # the bounds of time.Parse
_TIMESTAMP_TEXT = re.compile(
    rf"([0-9]{{4}})-([0-9]{{1,2}})-([0-9]{{1,2}})(?:[Tt]{_TIME_OF_DAY}{_ZONE}| {_TIME_OF_DAY})?"
)
_LEAP_CYCLE = 400  # years after which the calendar repeats; it carries year 0, which datetime lacks
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_INT, _MAX_UINT = 2**63 - 1, 2**64 - 1
_MAX_DIGITS = 20  # of an unsigned 64-bit number; Python refuses to read thousands
_MAX_DEPTH = 100  # goyaml.v2 goes to 10,000, and a row of aws-auth needs 3

# decode.go: how much of a document may come from aliases
_FEW_ALIASES, _FEW_NODES = 100, 1000
_RATIO_LOW, _RATIO_HIGH = 400_000, 4_000_000


class YamlError(Exception):
    """The verifier drops the list. ``mapping`` turns it into words."""


@dataclass(slots=True, eq=False)
class Node:
    """A node of goyaml.v2. ``implicit``: a plain scalar without a tag. ``children`` of a mapping: key, value, key..."""

    kind: str
    tag: str = ""
    value: str = ""
    implicit: bool = False
    children: list[Node] = field(default_factory=list)
    target: Node | None = None  # of an alias


def to_json(text: str) -> object:
    """What json.Unmarshal gets to see; raises YamlError if that is nothing."""
    if text.lstrip(SPACES).startswith("{"):
        return {}  # utilyaml.ToJSON takes it for JSON as it is; no list begins with a brace
    root = compose(text)
    return None if root is None else _jsonable(_Decoder().decode(root, 1))


def compose(text: str) -> Node | None:
    """The first document as nodes; later ones are not looked at. None: there is none.

    A character that YAML does not allow is an error wherever it stands; the verifier finds one behind the first
    document only within the 512 bytes that it reads at once.
    """
    yaml = _yaml()
    try:
        return _first_document(yaml, _reader_class()(text))
    except yaml.YAMLError as error:
        raise YamlError(f"it is not YAML ({_where(error)})") from None
    except (ValueError, OverflowError):  # chr() in PyYAML, of an escape beyond U+10FFFF
        raise YamlError("it is not YAML (an escape stands for no character)") from None


def _where(error: Any) -> str:  # noqa: ANN401 - PyYAML is untyped
    mark = getattr(error, "problem_mark", None)
    what = printable(getattr(error, "problem", None) or "a character that YAML does not allow")
    return what if mark is None else f"line {mark.line + 1}: {what}"


def _first_document(yaml: Any, reader: Any) -> Node | None:  # noqa: ANN401 - PyYAML is untyped
    document = Node("document")
    open_nodes = [document]
    anchors: dict[str, Node] = {}
    while not reader.check_event(yaml.DocumentEndEvent, yaml.StreamEndEvent):
        event = reader.get_event()
        if isinstance(event, yaml.DocumentStartEvent) and event.version not in {None, (1, 1)}:
            raise YamlError("%YAML is not 1.1")
        if isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
        elif isinstance(event, yaml.NodeEvent):
            node = _node(yaml, event, anchors)
            open_nodes[-1].children.append(node)
            if node.kind in {"sequence", "mapping"}:
                open_nodes.append(node)
                _check_depth(len(open_nodes))
    return document.children[0] if document.children else None


def _node(yaml: Any, event: Any, anchors: dict[str, Node]) -> Node:  # noqa: ANN401 - PyYAML is untyped
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise YamlError(f"unknown anchor {printable(event.anchor)} referenced")
        return Node("alias", value=event.anchor, target=anchors[event.anchor])
    if isinstance(event, yaml.ScalarEvent):
        if _SURROGATE.search(event.value):
            raise YamlError("it is not YAML (an escape stands for no character)")
        node = Node("scalar", event.tag or "", event.value, event.implicit[0])
    else:
        node = Node("sequence" if isinstance(event, yaml.SequenceStartEvent) else "mapping", event.tag or "")
    if event.anchor is not None:
        anchors[event.anchor] = node  # a second one of the name takes over, which PyYAML's composer refuses
    return node


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise YamlError(f"it is nested more than {_MAX_DEPTH} deep")


@dataclass(slots=True)
class _Decoder:
    """decode.go into an empty interface. Counts as it does, so a bomb of aliases ends where it ends there."""

    nodes: int = 1  # the document is one
    aliased: int = 0
    alias_depth: int = 0
    active: set[Node] = field(default_factory=set)

    def decode(self, node: Node, depth: int, into: dict[Any, object] | None = None) -> object:
        self._count()
        _check_depth(depth)
        if node.target is not None:
            return self._alias(node, node.target, depth, into)
        if node.kind == "scalar":
            return resolve(node)
        if node.kind == "sequence":
            return [self.decode(child, depth + 1) for child in node.children]
        return self._mapping(node, depth, {} if into is None else into)

    def _count(self) -> None:
        self.nodes += 1
        self.aliased += self.alias_depth > 0
        if self.aliased > _FEW_ALIASES and self.nodes > _FEW_NODES and self.aliased / self.nodes > _ratio(self.nodes):
            raise YamlError("document contains excessive aliasing")

    def _alias(self, node: Node, target: Node, depth: int, into: dict[Any, object] | None) -> object:
        if node in self.active:
            raise YamlError(f"anchor {printable(node.value)} value contains itself")
        self.active.add(node)
        self.alias_depth += 1
        value = self.decode(target, depth, into)
        self.alias_depth -= 1
        self.active.remove(node)
        return value

    def _mapping(self, node: Node, depth: int, into: dict[Any, object]) -> dict[Any, object]:
        for key_node, value_node in zip(node.children[::2], node.children[1::2], strict=True):
            if _is_merge(key_node):
                self._merge(value_node, depth, into)
                continue
            key = self.decode(key_node, depth + 1)
            if isinstance(key, list | dict):
                raise YamlError("invalid map key")
            into[type(key), key] = self.decode(value_node, depth + 1)  # 1, 1.0 and true are three keys in Go
        return into

    def _merge(self, node: Node, depth: int, into: dict[Any, object]) -> None:
        # Backwards, as the earlier ones take precedence.
        for source in reversed(node.children) if node.kind == "sequence" else [node]:
            if (source.target or source).kind != "mapping":
                raise YamlError("map merge requires map or sequence of maps as the value")
            self.decode(source, depth + 1, into)


def _is_merge(node: Node) -> bool:
    return node.kind == "scalar" and node.value == "<<" and (node.implicit or node.tag == _MERGE)


def _ratio(nodes: int) -> float:
    """allowedAliasRatio: 99 % in a small document, down to 10 % in a large one."""
    share = (nodes - _RATIO_LOW) / (_RATIO_HIGH - _RATIO_LOW)
    return 0.99 - 0.89 * min(max(share, 0.0), 1.0)


def _jsonable(value: object) -> object:
    """As convertToJSONableObject and json.Marshal: text for keys, and no number that JSON cannot write."""
    if isinstance(value, list):
        return [_jsonable(element) for element in value]
    if isinstance(value, dict):
        return {_key_text(key): _jsonable(element) for (_, key), element in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise YamlError(f"JSON has no number like {value}: put it in quotes")
    return value


def _key_text(key: object) -> str:
    if key is None or (isinstance(key, int) and key > _MAX_INT):
        raise YamlError("a key is empty or a number that is too large")
    return key if isinstance(key, str) else f"\0{key}"  # not the name of any field, whatever Go makes of it


def resolve(node: Node) -> bool | float | str | None:
    """resolve.go: what a scalar is."""
    tag, text = node.tag, node.value
    if tag == _STR or (tag == "" and not node.implicit):
        return text
    if tag == BINARY:
        return _binary(text)
    if tag not in _RESOLVABLE:
        return text
    value = _plain(text)
    if tag == "" or _tag(value) == tag:
        return value
    if tag == _FLOAT and isinstance(value, int) and not isinstance(value, bool) and value <= _MAX_INT:
        return float(value)
    if tag == _TIMESTAMP and isinstance(value, str) and _is_timestamp(text):
        return text
    raise YamlError(f"cannot decode {printable(text)} as a {printable('!!' + tag.removeprefix(_PREFIX))}")


def _plain(text: str) -> bool | float | str | None:
    if text in _WORDS:
        return _WORDS[text]
    if text.startswith("."):
        return _finite(text) if _POINT_FLOAT.fullmatch(text) else text
    if text[0] not in "+-0123456789":
        return text
    digits = text.replace("_", "")
    integer = _integer(digits)
    if integer is not None:
        return integer
    if _FLOAT_TEXT.fullmatch(digits):
        number = _finite(digits)
        return number if isinstance(number, float) else text
    return text


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text  # strconv.ErrRange: it stays text


def _integer(digits: str) -> int | None:
    """The value, if it fits into 64 bits: signed, or unsigned without a sign."""
    match = _INTEGER.fullmatch(digits)
    if match is None:
        return None
    value = _value(match)
    signed = not digits[0].isdigit() or match["signed"] is not None
    return value if -_MAX_INT - 1 <= value <= (_MAX_INT if signed else _MAX_UINT) else None


def _value(match: re.Match[str]) -> int:
    signed, sign, hexadecimal, binary, octal, decimal = match.groups()
    if signed is not None:
        return int(signed, 2)
    for number, base in ((hexadecimal, 16), (binary, 2), (octal, 8)):
        if number is not None:
            return int(sign + number, base)
    return int(sign + decimal) if len(decimal) <= _MAX_DIGITS else _MAX_UINT + 1


def _is_timestamp(text: str) -> bool:
    """resolve.go's parseTimestamp."""
    match = _TIMESTAMP_TEXT.fullmatch(text)
    if match is None:
        return False
    year, month, day = (int(group) for group in match.groups())
    try:
        date(year % _LEAP_CYCLE + _LEAP_CYCLE, month, day)
    except ValueError:
        return False
    return True


def _tag(value: bool | float | str | None) -> str:  # noqa: FBT001 - a scalar of any type
    if value is None:
        return _NULL
    return {bool: _BOOL, int: _INT, float: _FLOAT}.get(type(value), _STR)


def _binary(text: str) -> str:
    encoded = text.replace("\n", "").replace("\r", "")  # base64.StdEncoding skips these two
    if not _BASE64.fullmatch(encoded):
        raise YamlError("!!binary value contains invalid base64 data")
    return _gourl.text(binascii.a2b_base64(encoded).decode("latin-1"))


# --- PyYAML, made to scan as libyaml (goyaml.v2's scannerc.go) does --------------------------------------------------

_BREAKS = "\r\n\x85\u2028\u2029"
_BLANKS = " \t"
_ENDS = "\0" + _BLANKS + _BREAKS
_WORD = re.compile(r"[A-Za-z0-9_-]")
_BLOCK_HEADER = re.compile(r"[0-9][+-]|[+-]?[0-9]?")


def _yaml() -> Any:  # noqa: ANN401 - PyYAML is untyped
    try:
        import yaml  # type: ignore[import-untyped] # noqa: PLC0415 - an optional extra, needed for aws-auth alone
    except ImportError:
        raise EksTokenError('reading aws-auth needs PyYAML: pip install "eks-cross-account[kubernetes]"') from None
    return yaml


@functools.cache
def _reader_class() -> Any:  # noqa: ANN401 - PyYAML is untyped
    """PyYAML's pure loader, whatever else is installed, with what its scanner reads otherwise than libyaml's."""
    yaml = _yaml()
    escapes = {**yaml.SafeLoader.ESCAPE_REPLACEMENTS, "'": "'"}
    del escapes["/"]
    changes = {
        "ESCAPE_REPLACEMENTS": escapes,
        "__init__": _start_reading,
        "save_possible_simple_key": _save_possible_key,
        "fetch_flow_collection_start": _fetch_flow_start,
        "fetch_flow_collection_end": _fetch_flow_end,
        "next_possible_simple_key": _next_possible_key,
        "parse_flow_sequence_entry_mapping_key": _parse_flow_entry_key,
        "scan_to_next_token": _scan_to_next_token,
        "scan_directive_name": _scan_directive_name,
        "scan_plain": _scan_plain,
        "scan_tag": _scan_tag,
        "scan_block_scalar_indicators": _scan_block_header,
        "scan_block_scalar_ignored_line": _scan_block_header_end,
        "scan_block_scalar_indentation": _scan_block_indentation,
        "scan_block_scalar_breaks": _scan_block_breaks,
    }
    return type("_Reader", (yaml.SafeLoader,), changes)


def _start_reading(reader: Any, text: str) -> None:  # noqa: ANN401 - PyYAML is untyped
    reader.brackets = []  # numbers of the open ones' tokens; None once there was something in them that can be a key
    reader.no_keys = set()
    _yaml().SafeLoader.__init__(reader, text)


def _save_possible_key(reader: Any) -> None:  # noqa: ANN401 - PyYAML is untyped
    if reader.allow_simple_key and reader.brackets:
        reader.brackets[-1] = None
    _yaml().SafeLoader.save_possible_simple_key(reader)


def _fetch_flow_start(reader: Any, token_class: Any) -> None:  # noqa: ANN401 - PyYAML is untyped
    _yaml().SafeLoader.fetch_flow_collection_start(reader, token_class)
    reader.brackets.append(reader.tokens_taken + len(reader.tokens) - 1)


def _fetch_flow_end(reader: Any, token_class: Any) -> None:  # noqa: ANN401 - PyYAML is untyped
    """yaml_parser_decrease_flow_level forgets that an empty collection can be a key: ``{}: x`` ends a block."""
    _yaml().SafeLoader.fetch_flow_collection_end(reader, token_class)
    if reader.brackets:
        reader.no_keys.add(reader.brackets.pop())


def _next_possible_key(reader: Any) -> int | None:  # noqa: ANN401 - PyYAML is untyped
    numbers = {key.token_number for key in reader.possible_simple_keys.values()} - reader.no_keys
    return min(numbers, default=None)


def _parse_flow_entry_key(reader: Any) -> Any:  # noqa: ANN401 - PyYAML is untyped
    """yaml_parser_parse_flow_sequence_entry_mapping_key: an empty key takes the token behind it along."""
    yaml = _yaml()
    token = reader.get_token()
    if not reader.check_token(yaml.ValueToken, yaml.FlowEntryToken, yaml.FlowSequenceEndToken):
        reader.states.append(reader.parse_flow_sequence_entry_mapping_value)
        return reader.parse_flow_node()
    reader.get_token()
    reader.state = reader.parse_flow_sequence_entry_mapping_value
    return reader.process_empty_scalar(token.end_mark)


def _scan_to_next_token(reader: Any) -> None:  # noqa: ANN401 - PyYAML is untyped
    """Blanks, comments and line ends; a tab is a blank except where a block could begin."""
    if reader.index == 0 and reader.peek() == "\ufeff":
        reader.forward()
    while True:
        while reader.peek() == " " or (reader.peek() == "\t" and (reader.flow_level or not reader.allow_simple_key)):
            reader.forward()
        if reader.peek() == "#":
            while reader.peek() not in "\0" + _BREAKS:
                reader.forward()
        if not reader.scan_line_break():
            return
        if not reader.flow_level:
            reader.allow_simple_key = True


def _scan_directive_name(reader: Any, start: Any) -> str:  # noqa: ANN401 - PyYAML is untyped
    name: str = _yaml().SafeLoader.scan_directive_name(reader, start)
    if name not in {"YAML", "TAG"}:
        raise _scanner_error(reader, "found unknown directive name")
    return name


def _scan_plain(reader: Any) -> Any:  # noqa: ANN401 - PyYAML is untyped
    """yaml_parser_scan_plain_scalar: tabs are blanks, and a colon in a flow ends it only before a blank."""
    start = end = reader.get_mark()
    chunks: list[str] = []
    gap, broken = "", False
    while not _at_document_mark(reader) and reader.peek() != "#":
        length = _word_length(reader)
        if length:
            chunks += (gap, reader.prefix(length))
            gap, broken = "", False
            reader.forward(length)
            end = reader.get_mark()
        if reader.peek() not in _BLANKS + _BREAKS:
            break
        gap, broken = _scan_gap(reader)
        if not reader.flow_level and reader.column < reader.indent + 1:
            break
    reader.allow_simple_key = broken
    return _yaml().ScalarToken("".join(chunks), True, start, end)  # noqa: FBT003 - PyYAML's own order


def _at_document_mark(reader: Any) -> bool:  # noqa: ANN401 - PyYAML is untyped
    return reader.column == 0 and reader.prefix(3) in {"---", "..."} and reader.peek(3) in _ENDS


def _word_length(reader: Any) -> int:  # noqa: ANN401 - PyYAML is untyped
    length = 0
    ends = _ENDS + (",?[]{}" if reader.flow_level else "")
    while (char := reader.peek(length)) not in ends and not (char == ":" and reader.peek(length + 1) in _ENDS):
        length += 1
    return length


def _scan_gap(reader: Any) -> tuple[str, bool]:  # noqa: ANN401 - PyYAML is untyped
    """What stands between two words, and whether a line ended in it: one line end is a blank, more are kept."""
    blanks, breaks = [], []
    while reader.peek() in _BLANKS + _BREAKS:
        char = reader.peek()
        if char in _BREAKS:
            breaks.append(reader.scan_line_break())
            continue
        if breaks and char == "\t" and reader.column < reader.indent + 1:
            raise _scanner_error(reader, "found a tab character that violates indentation")
        blanks.append(char)
        reader.forward()
    if not breaks:
        return "".join(blanks), False
    return ("".join(breaks[1:]) or " ") if breaks[0] == "\n" else "".join(breaks), True


def _scan_tag(reader: Any) -> Any:  # noqa: ANN401 - PyYAML is untyped
    """yaml_parser_scan_tag: a handle is what word characters and a second ``!`` make; a tab may end the tag."""
    start = reader.get_mark()
    handle: str | None
    if reader.peek(1) == "<":
        reader.forward(2)
        handle, suffix = None, reader.scan_tag_uri("tag", start)
        if reader.peek() != ">":
            raise _scanner_error(reader, "did not find the expected '>'")
        reader.forward()
    else:
        handle, suffix = _tag_parts(reader, start)
    if reader.peek() not in _ENDS:
        raise _scanner_error(reader, "did not find expected whitespace or line break")
    return _yaml().TagToken((handle, suffix), start, reader.get_mark())


def _tag_parts(reader: Any, start: Any) -> tuple[str | None, str]:  # noqa: ANN401 - PyYAML is untyped
    length = 1
    while _WORD.match(reader.peek(length)):
        length += 1
    if reader.peek(length) == "!":
        handle = reader.prefix(length + 1)
        reader.forward(length + 1)
        return handle, reader.scan_tag_uri("tag", start)
    suffix = reader.prefix(length)[1:]
    reader.forward(length)
    if reader.peek() not in _ENDS:
        suffix += reader.scan_tag_uri("tag", start)
    return ("!", suffix) if suffix else (None, "!")


def _scan_block_header(reader: Any, _start: Any) -> tuple[bool | None, int | None]:  # noqa: ANN401 - PyYAML is untyped
    """Chomping (+ True, - False) and indentation, of which libyaml does not mind what follows."""
    header = _BLOCK_HEADER.match(reader.prefix(2))[0]  # type: ignore[index] # it matches ""
    digit = header.strip("+-")
    if digit == "0":
        raise _scanner_error(reader, "found an indentation indicator equal to 0")
    reader.forward(len(header))
    chomping = {"+": True, "-": False}.get(header.strip(digit or " "))
    return chomping, int(digit) if digit else None


def _scan_block_header_end(reader: Any, _start: Any) -> None:  # noqa: ANN401 - PyYAML is untyped
    while reader.peek() in _BLANKS:
        reader.forward()
    if reader.peek() == "#":
        while reader.peek() not in "\0" + _BREAKS:
            reader.forward()
    if reader.peek() not in "\0" + _BREAKS:
        raise _scanner_error(reader, "did not find expected comment or line break")
    reader.scan_line_break()


def _scan_block_indentation(reader: Any) -> Any:  # noqa: ANN401 - PyYAML is untyped
    found = _yaml().SafeLoader.scan_block_scalar_indentation(reader)
    if reader.peek() == "\t":
        raise _scanner_error(reader, "found a tab character where an indentation space is expected")
    return found


def _scan_block_breaks(reader: Any, indent: int) -> Any:  # noqa: ANN401 - PyYAML is untyped
    found = _yaml().SafeLoader.scan_block_scalar_breaks(reader, indent)
    if reader.column < indent and reader.peek() == "\t":
        raise _scanner_error(reader, "found a tab character where an indentation space is expected")
    return found


def _scanner_error(reader: Any, problem: str) -> Exception:  # noqa: ANN401 - PyYAML is untyped
    error: Exception = _yaml().scanner.ScannerError(None, None, problem, reader.get_mark())
    return error
