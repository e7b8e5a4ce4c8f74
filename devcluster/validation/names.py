"""The syntax of names, label keys and label values: each function returns the error messages about a text.

The rules and messages are those of `k8s.io/apimachinery/pkg/api/validate/content`; see
https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and `.../labels/`. All patterns are used with
`fullmatch`, because `$` would accept a trailing newline.
"""

import re

_DNS_LABEL_FORMAT = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN_FORMAT = _DNS_LABEL_FORMAT + r"(\." + _DNS_LABEL_FORMAT + ")*"
_LABEL_KEY_FORMAT = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE_FORMAT = f"({_LABEL_KEY_FORMAT})?"
_CONFIG_KEY_FORMAT = "[-._a-zA-Z0-9]+"

_DNS_LABEL = re.compile(_DNS_LABEL_FORMAT)
_DNS_SUBDOMAIN = re.compile(_DNS_SUBDOMAIN_FORMAT)
_LABEL_KEY = re.compile(_LABEL_KEY_FORMAT)
_LABEL_VALUE = re.compile(_LABEL_VALUE_FORMAT)
_CONFIG_KEY = re.compile(_CONFIG_KEY_FORMAT)

_LABEL_MAX = 63
_SUBDOMAIN_MAX = 253
_PORT_NAME_MAX = 15

_DNS_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character"
)
_DNS_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character"
)
_LABEL_KEY_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character"
)
_CONFIG_KEY_RULE = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_ENV_NAME_RULE = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def _pattern_message(rule: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{rule} (e.g. {shown}regex used for validation is '{pattern}')"


def _too_long(text: str, limit: int, unit: str = "characters") -> list[str]:
    """Check a length in bytes; `unit` is only the word in the message."""
    return [f"must be no more than {limit} {unit}"] if len(text.encode()) > limit else []


def dns_label_errors(text: str) -> list[str]:
    """Check an RFC 1123 label, such as the name of a namespace, container or volume."""
    errors = _too_long(text, _LABEL_MAX)
    if not _DNS_LABEL.fullmatch(text):
        if _DNS_SUBDOMAIN.fullmatch(text):
            errors.append("must not contain dots")
        else:
            errors.append(_pattern_message(_DNS_LABEL_RULE, _DNS_LABEL_FORMAT, "my-name", "123-abc"))
    return errors


def dns_subdomain_errors(text: str) -> list[str]:
    """Check an RFC 1123 subdomain, such as the name of most objects."""
    errors = _too_long(text, _SUBDOMAIN_MAX)
    if not _DNS_SUBDOMAIN.fullmatch(text):
        errors.append(_pattern_message(_DNS_SUBDOMAIN_RULE, _DNS_SUBDOMAIN_FORMAT, "example.com"))
    return errors


def label_key_errors(text: str) -> list[str]:
    """Check the key of a label or annotation, or a finalizer: a name with an optional DNS prefix."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        message = _pattern_message(_LABEL_KEY_RULE, _LABEL_KEY_FORMAT, "MyName", "my.name", "123-abc")
        optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {message} {optional}"]
    errors = []
    if slash:
        if not prefix:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {error}" for error in dns_subdomain_errors(prefix)]
    if not name:
        errors.append("name part must be non-empty")
    errors += [f"name part {error}" for error in _too_long(name, _LABEL_MAX, "bytes")]
    if not _LABEL_KEY.fullmatch(name):
        message = _pattern_message(_LABEL_KEY_RULE, _LABEL_KEY_FORMAT, "MyName", "my.name", "123-abc")
        errors.append(f"name part {message}")
    return errors


def label_value_errors(text: str) -> list[str]:
    """Check a label's value; it may be empty."""
    errors = _too_long(text, _LABEL_MAX, "bytes")
    if not _LABEL_VALUE.fullmatch(text):
        errors.append(_pattern_message(_LABEL_VALUE_RULE, _LABEL_VALUE_FORMAT, "MyValue", "my_value", "12345"))
    return errors


def config_key_errors(text: str) -> list[str]:
    """Check a key of a ConfigMap or Secret."""
    errors = _too_long(text, _SUBDOMAIN_MAX)
    if not _CONFIG_KEY.fullmatch(text):
        errors.append(_pattern_message(_CONFIG_KEY_RULE, _CONFIG_KEY_FORMAT, "key.name", "KEY_NAME", "key-name"))
    elif text in (".", ".."):
        errors.append(f"must not be '{text}'")
    elif text.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def environment_name_errors(text: str) -> list[str]:
    """Check the name of an environment variable."""
    if not text:
        return ["environment variable name must be non-empty"]
    if any(not " " <= character <= "~" or character == "=" for character in text):
        return [_ENV_NAME_RULE]
    return []


def port_name_errors(text: str) -> list[str]:
    """Check the name of a port of a container or Service."""
    errors = ["must be no more than 15 characters"] if len(text) > _PORT_NAME_MAX else []
    if not re.fullmatch("[-a-z0-9]+", text):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        errors.append("must contain at least one letter (a-z)")
    if "--" in text:
        errors.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def path_segment_errors(text: str) -> list[str]:
    """Check a name that need only be a segment of a URL."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{part}'" for part in "/%" if part in text]
