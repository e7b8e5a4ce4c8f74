"""What is valid in a configuration, but deserves a second look."""

from collections.abc import Iterator

from schemas.configuration import Definitions
from schemas.definition import FALLBACK, Definition
from schemas.faults import Fault
from schemas.images import split_tag
from schemas.template_warnings import find_template_warnings


def find_warnings(definitions: Definitions) -> list[Fault]:
    """Find what `slimfaas-jobs validate` warns of; the pointers are those of the configuration."""
    return [warning for definition in definitions.values() for warning in _warnings(definition)]


def _warnings(definition: Definition) -> Iterator[Fault]:
    yield from _secret_warnings(definition)
    yield from _pattern_warnings(definition)
    yield from _notify_warnings(definition)
    if definition.name == FALLBACK and definition.visibility == "Public":
        yield Fault(
            definition.pointer("Visibility"),
            "anyone who reaches the service may start this definition under every name that has no definition of its "
            "own, mistyped ones included; make it Private, or give it another name",
        )
    if definition.template is not None:
        yield from find_template_warnings(definition.written_name or definition.name, definition.template)


def _pattern_warnings(definition: Definition) -> Iterator[Fault]:
    """Warn of patterns with `*` and without a tag: they match only images that have none, which is rarely meant."""
    for index, pattern in enumerate(definition.images_whitelist):
        repository, tag = split_tag(pattern)
        if "*" in repository and not tag:
            yield Fault(
                definition.pointer("ImagesWhitelist", index),
                "matches only images without a tag and without a digest, and * stands for one path segment; "
                f"write {pattern}:* to match any tag",
            )


def _notify_warnings(definition: Definition) -> Iterator[Fault]:
    """Warn of notifications that others could read, or could have sent."""
    notify = definition.notify
    if notify is None:
        return
    if notify.secret is None:
        yield Fault(
            definition.pointer("Notify"),
            "the receiver can't tell who has sent a notification; sign them with a SecretRef",
        )
    if notify.url.startswith("http:"):
        yield Fault(
            definition.pointer("Notify", "Url"),
            "notifications are sent in clear text, with the arguments and the result of each run; use https",
        )


def _secret_warnings(definition: Definition) -> Iterator[Fault]:
    """Warn of a public definition whose runs hold something secret."""
    if definition.visibility != "Public" or not definition.holds_secret:
        return
    names = [variable.name for variable in definition.environments if variable.is_secret]
    held = [f"a Secret ({', '.join(names)})"] if names else []
    if definition.service_account_name is not None:
        held.append("the token of a ServiceAccount")
    if definition.template is not None:
        held += (secret for secret in definition.template.secrets if secret not in held)
    settable = [
        field
        for field, can_matter in (
            ("Args", True),
            ("Image", bool(definition.images_whitelist)),
            ("Environments", bool(definition.environments_whitelist)),
        )
        if can_matter and definition.lets_set(field)
    ]
    chosen = f"with {', '.join(settable)} of their choice" if settable else "with a path and a query of their choice"
    yield Fault(
        definition.pointer("Visibility"),
        f"anyone who reaches the service may start runs that hold {_join(held)}, {chosen}; requests can set no "
        "variable that EnvironmentsWhitelist does not name. Make the definition Private, or limit Overridable",
    )


def _join(parts: list[str]) -> str:
    return " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), *parts[-1:]])
