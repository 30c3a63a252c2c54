"""A section is declared once: its keys fill the attributes of its dataclass, which has their types and defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import pytest

from sloctl import spec
from sloctl.model import SloSet
from sloctl.promql.presets import PRESETS
from sloctl.spec.fields.shapes import Either, Field, Items, Named, Object, Section, Type, Variants, defaults
from sloctl.spec.sections.file import FILE
from sloctl.spec.sections.slis import preset_fields

VALID = sorted((Path(__file__).parent.parent / "golden").rglob("*.yaml"))


def inside(shape: Type) -> Iterator[Type]:
    """The types that a type is made of."""
    if isinstance(shape, Object):
        yield from (item.type for item in shape.fields)
    elif isinstance(shape, Items):
        yield shape.item
    elif isinstance(shape, Named):
        yield shape.value
    elif isinstance(shape, Either):
        yield from (shape.scalar, shape.mapping)
    elif isinstance(shape, Variants):
        yield from (*shape.objects.values(), *shape.others.values())


def objects(shape: Type) -> Iterator[Object]:
    """All mappings with known keys of the file."""
    if isinstance(shape, Object):
        yield shape
    for part in inside(shape):
        yield from objects(part)


OBJECTS = {shape.name: shape for shape in objects(FILE)}
SECTIONS = {name: shape for name, shape in OBJECTS.items() if isinstance(shape, Section)}


def filled(shape: Object) -> Iterator[tuple[Field, str]]:
    """The keys of a section and its parts, each with the attribute that it fills."""
    for item in shape.fields:
        if item.key in shape.apart:
            continue
        if isinstance(item.type, Object) and not isinstance(item.type, Section):
            assert item.type.model is shape.model, f"{item.key} is part of another section"
            yield from filled(item.type)
        else:
            yield item, item.attribute


@pytest.mark.parametrize("name", SECTIONS)
def test_every_attribute_has_a_key_and_every_key_an_attribute_or_a_reason(name: str) -> None:
    section = SECTIONS[name]
    attributes = {item.name for item in dataclasses.fields(section.model)}
    by_key = {attribute for _, attribute in filled(section)}
    assert by_key - attributes == set(), "keys that fill nothing"
    assert attributes - by_key - section.apart.keys() == set(), "attributes without a key"
    assert section.apart.keys() <= attributes | {item.key for item in section.fields}, "reasons for nothing"
    assert all(section.apart.values())


@pytest.mark.parametrize("name", SECTIONS)
def test_what_a_dataclass_must_have_is_required_or_computed(name: str) -> None:
    section = SECTIONS[name]
    needed = {item.name for item in dataclasses.fields(section.model)} - defaults(
        cast(Any, section.model)
    ).keys()
    given = {attribute for item, attribute in filled(section) if item.required}
    assert needed <= given | section.apart.keys()


@pytest.mark.parametrize("name", [name for name, shape in OBJECTS.items() if shape.model is not None])
def test_words_for_what_holds_without_a_key_repeat_no_default(name: str) -> None:
    shape = OBJECTS[name]
    for item in shape.filling:
        assert shape.model is not None
        default = defaults(shape.model).get(item.attribute)
        shown = item.type.shown(default) if default else ""
        known = not shown or shown == "[]" or shown in item.without  # a list of sections is not shown
        assert not item.without or known, item.key


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, all the way down."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in args)
    if origin is Literal:
        return value in args
    if origin is tuple:
        if args[-1] is ...:
            return isinstance(value, tuple) and all(fits(part, args[0]) for part in value)
        return len(value) == len(args) and all(map(fits, value, args))
    if dataclasses.is_dataclass(value):
        hints = get_type_hints(type(value))
        return isinstance(value, hint) and all(fits(getattr(value, key), hints[key]) for key in hints)
    return type(value) is hint if hint in (int, str, bool) else isinstance(value, hint)


def parts(value: Any) -> Iterator[Any]:
    """All dataclasses in a value."""
    if isinstance(value, tuple):
        for part in value:
            yield from parts(part)
    elif dataclasses.is_dataclass(value):
        yield value
        for item in dataclasses.fields(value):
            yield from parts(getattr(value, item.name))


def loaded() -> Iterator[SloSet]:
    for file in VALID:
        slo_set, _ = spec.check([file])
        if slo_set is not None:
            yield slo_set


def test_every_parameter_of_every_preset_has_a_field() -> None:
    for preset in PRESETS.values():
        assert tuple(item.key for item in preset_fields(preset)) == preset.params
    lacking = dataclasses.replace(PRESETS["availability"], params=("side", "status"))
    with pytest.raises(
        LookupError, match=r"'status' of the preset 'availability' has no Field in preset_fields"
    ):
        preset_fields(lacking)


def test_the_model_holds_what_its_annotations_say() -> None:
    seen: dict[str, set[str]] = {}
    for slo_set in loaded():
        for part in parts(slo_set):
            hints = get_type_hints(type(part))
            usual = defaults(cast(Any, type(part)))
            for key, hint in hints.items():
                value = getattr(part, key)
                assert fits(value, hint), f"{type(part).__name__}.{key}: {value!r}"
                if key not in usual or value != usual[key]:
                    seen.setdefault(type(part).__name__, set()).add(key)
    filling = {(s.model.__name__, attribute) for s in SECTIONS.values() for _, attribute in filled(s)}
    never = sorted(f"{model}.{key}" for model, key in filling if key not in seen.get(model, ()))
    assert never == [], "attributes that no file of tests/golden gives another value than their default"
