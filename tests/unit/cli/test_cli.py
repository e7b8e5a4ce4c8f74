"""`app.cli`: the commands that need no cluster."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import main

ROOT = Path(__file__).resolve().parents[3]
GOOD: dict[str, Any] = {"Configurations": {"a": {"Image": "busybox:1"}}}
BAD: dict[str, Any] = {"Configurations": {"a": {"image": "busybox:1", "BackoffLimit": -1}}}
BAD_FAULTS = [
    "/Configurations/a/BackoffLimit: must be at least 0",
    "/Configurations/a/Image: required, but missing",
    "/Configurations/a/image: unknown field; did you mean Image?",
]

Validate = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def validate(capsys: pytest.CaptureFixture[str]) -> Validate:
    """Run the command; returns its exit code, the lines of its output, and its standard error."""

    def run(*files: Path | str) -> tuple[int, list[str], str]:
        code = main(["validate", *map(str, files)])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return run


def config_map(name: str, configuration: Any, *, key: str = "SLIMFAAS_JOBS_CONFIGURATION", **metadata: str) -> Any:
    text = configuration if isinstance(configuration, str) else json.dumps(configuration)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {key: text}}


def write(folder: Path, text: str, name: str = "file.yaml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_validate__prints_nothing_without_faults(validate: Validate, tmp_path: Path) -> None:
    assert validate(write(tmp_path, json.dumps(GOOD))) == (0, [], "")


def test_validate__prints_each_fault_with_file_and_pointer(validate: Validate, tmp_path: Path) -> None:
    file = write(tmp_path, json.dumps(BAD), "jobs.json")
    assert validate(file) == (1, [f"{file}: {fault}" for fault in BAD_FAULTS], "")


@pytest.mark.parametrize("text", ["{", '{"Configurations": ', '{"Configurations": {}} {}', '{\t"a": NaN}'])
def test_validate__reports_malformed_json_as_one_fault(validate: Validate, tmp_path: Path, text: str) -> None:
    file = write(tmp_path, text, "jobs.json")
    code, (line,), _ = validate(file)
    assert code == 1
    assert line.startswith(f"{file}: (the whole document): not JSON: ")


def test_validate__checks_every_config_map_of_a_manifest(validate: Validate, tmp_path: Path) -> None:
    """Several documents, either key; other objects are skipped."""
    documents = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}},
        config_map("good", GOOD),
        None,
        config_map("bad", BAD, namespace="jobs"),
        config_map("old", BAD, key="SlimFaas__JobsConfiguration"),
        config_map("other", "not JSON", key="something else"),
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"SLIMFAAS_JOBS_CONFIGURATION": None}},
    ]
    file = write(tmp_path, yaml.safe_dump_all(documents))
    code, lines, _ = validate(file)

    assert code == 1
    assert lines[:3] == [f"{file}: ConfigMap jobs/bad, SLIMFAAS_JOBS_CONFIGURATION: {fault}" for fault in BAD_FAULTS]
    assert lines[3:6] == [f"{file}: ConfigMap old, SlimFaas__JobsConfiguration: {fault}" for fault in BAD_FAULTS]
    (last,) = lines[6:]
    assert last.startswith(f"{file}: ConfigMap (without a name), SLIMFAAS_JOBS_CONFIGURATION: (the whole document)")


@pytest.mark.parametrize("indent", [None, "\t"])
def test_validate__checks_config_maps_in_lists(validate: Validate, tmp_path: Path, indent: str | None) -> None:
    """`kubectl get configmaps -o json` prints a list. JSON may be indented with tabs, which YAML forbids."""
    inner = {"kind": "List", "items": [config_map("inner", BAD), "odd", None]}
    file = write(tmp_path, json.dumps({"kind": "List", "items": [config_map("first", GOOD), inner]}, indent=indent))
    code, lines, _ = validate(file)
    assert code == 1
    assert lines == [f"{file}: ConfigMap inner, SLIMFAAS_JOBS_CONFIGURATION: {fault}" for fault in BAD_FAULTS]


@pytest.mark.parametrize(
    "text", ["a: [", "\x00", "%TAG !", "- !!timestamp x", "a: b: c", "!!python/object:os.system {}"]
)
def test_validate__reports_a_file_that_is_neither_json_nor_yaml(validate: Validate, tmp_path: Path, text: str) -> None:
    """Without the parser's traceback."""
    file = write(tmp_path, text)
    code, (line,), _ = validate(file)
    assert code == 1
    assert line.startswith(f"{file}: (the whole document): neither JSON nor YAML")


@pytest.mark.parametrize("text", ["", "---\n---\n", "kind: Service\n", "[]", "just words"])
def test_validate__fails_without_any_configuration(validate: Validate, tmp_path: Path, text: str) -> None:
    """A check of nothing must not look like a success."""
    file = write(tmp_path, text)
    assert validate(file) == (1, [], f"no job configuration found in: {file}\n")


def test_validate__accepts_files_without_a_configuration_beside_one_with_it(validate: Validate, tmp_path: Path) -> None:
    plain = write(tmp_path, "kind: Service\n", "service.yaml")
    assert validate(plain, write(tmp_path, yaml.safe_dump(config_map("a", GOOD)))) == (0, [], "")


def test_validate__reports_unreadable_files_and_the_faults_of_the_others(validate: Validate, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    bad = write(tmp_path, json.dumps(BAD))
    code, lines, _ = validate(tmp_path / "missing", binary, bad)

    assert code == 1
    missing, not_text, *faults = lines
    assert missing == f"{tmp_path / 'missing'}: No such file or directory"
    assert not_text.startswith(f"{binary}: not UTF-8 text: ")
    assert len(faults) == len(BAD_FAULTS)


def test_validate__reads_standard_input_for_a_dash(validate: Validate, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `kubectl kustomize . | slimfaas-jobs validate -`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(yaml.safe_dump(config_map("a", BAD)).encode())))
    code, lines, _ = validate("-")
    assert code == 1
    place = "standard input: ConfigMap a, SLIMFAAS_JOBS_CONFIGURATION"
    assert lines == [f"{place}: {fault}" for fault in BAD_FAULTS]


def test_validate__accepts_our_own_manifests(validate: Validate) -> None:
    files = [ROOT / "k8s/overlays/demo/configmap.yaml", *(ROOT / "tests/data/seed").glob("slimfaas.yaml")]
    assert validate(*files) == (0, [], "")


@pytest.mark.parametrize("arguments", [["validate"], ["unknown"], ["validate", "--unknown", "x"]])
def test_main__exits_with_2_and_the_usage_for_invalid_arguments(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: slimfaas-jobs" in capsys.readouterr().err


def test_main__prints_its_help_without_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert {"validate", "dispatcher", "version"} <= set(printed.err.split())
    assert "required" not in printed.err


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_main__prints_the_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"slimfaas-jobs {metadata.version('slimfaas-jobs')}\n"


def test_main__names_the_commands_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert {"validate", "dispatcher"} <= set(capsys.readouterr().out.split())


BLOCK = """kind: ConfigMap
metadata:
  name: jobs
data:
  SLIMFAAS_JOBS_CONFIGURATION: |
    {
      "Configurations": {
        "a": {
          "Image": "busybox",
          "BackoffLimit": -1
        }
      }
    }
"""


def test_validate__writes_github_annotations_with_the_line_of_each_fault(validate: Validate, tmp_path: Path) -> None:
    """Also inside a ConfigMap's block. Characters that end a property or the command are escaped."""
    file = write(tmp_path, BLOCK, "a,b.yaml")
    code, lines, _ = validate("--format", "github", file)
    assert code == 1
    name = str(file).replace(",", "%2C")
    where = f"file={name},line=10,title=ConfigMap jobs%2C SLIMFAAS_JOBS_CONFIGURATION"
    assert lines == [f"::error {where}::/Configurations/a/BackoffLimit: must be at least 0"]


@pytest.mark.parametrize(("text", "code", "count"), [(json.dumps(GOOD), 0, 0), (BLOCK, 1, 1), ("kind: A", 1, 0)])
def test_validate__writes_one_json_list(validate: Validate, tmp_path: Path, text: str, code: int, count: int) -> None:
    file = write(tmp_path, text)
    returned, lines, _ = validate("--format", "json", file)
    found = json.loads("\n".join(lines))
    assert (returned, len(found)) == (code, count)
    for fault in found:
        assert fault == {
            "file": str(file),
            "line": 10,
            "place": "ConfigMap jobs, SLIMFAAS_JOBS_CONFIGURATION",
            "pointer": "/Configurations/a/BackoffLimit",
            "message": "must be at least 0",
            "severity": "error",
        }


def test_validate__searches_folders_for_json_and_yaml_files(validate: Validate, tmp_path: Path) -> None:
    """Hidden files, other suffixes and unrelated files are skipped."""
    (tmp_path / "inner").mkdir()
    (tmp_path / ".hidden").mkdir()
    write(tmp_path, "{}", "package.json")
    write(tmp_path, json.dumps(BAD), "read.me")
    write(tmp_path / ".hidden", json.dumps(BAD), "jobs.json")
    assert validate(tmp_path) == (1, [], f"no job configuration found in: {tmp_path}\n")

    bad = write(tmp_path / "inner", json.dumps(BAD), "jobs.yml")
    assert validate(tmp_path) == (1, [f"{bad}: {fault}" for fault in BAD_FAULTS], "")


def test_validate__accepts_no_configuration_with_allow_none(validate: Validate, tmp_path: Path) -> None:
    """As for a commit hook. Faults and unreadable files still fail."""
    files = [
        write(tmp_path, text, f"{index}.yaml") for index, text in enumerate(["{}", "kind: A", "a: [", "", "words"])
    ]
    assert validate("--allow-none", *files) == (0, [], "")
    assert validate("--allow-none", *files, write(tmp_path, BLOCK, "bad.yaml"))[0] == 1
    assert validate("--allow-none", tmp_path / "missing")[0] == 1


def test_validate__accepts_a_byte_order_mark(validate: Validate, tmp_path: Path) -> None:
    assert validate(write(tmp_path, "\ufeff" + json.dumps(GOOD))) == (0, [], "")


def test_validate__checks_a_further_key(validate: Validate, tmp_path: Path) -> None:
    """Such as that of a ConfigMap which is mounted as a file."""
    file = write(tmp_path, yaml.safe_dump(config_map("a", BAD, key="jobs.json")))
    assert validate(file)[1] == []
    assert validate("--key", "jobs.json", file)[1] == [f"{file}: ConfigMap a, jobs.json: {f}" for f in BAD_FAULTS]


def test_validate__refuses_a_namespace_without_server(validate: Validate, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        validate("--namespace", "a", write(tmp_path, "{}"))
    assert ended.value.code == 2


def test_schema__prints_the_published_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == (ROOT / "schemas/jobs-configuration.schema.json").read_text("utf-8")


@pytest.mark.parametrize("arguments", ["['schema']", "['validate', 'k8s/overlays/demo/configmap.yaml']"])
def test_validate__imports_neither_web_framework_nor_client(arguments: str) -> None:
    """It runs at every commit."""
    code = f"import sys; from app.cli import main; assert main({arguments}) == 0; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stderr.split()}
    assert "schemas" in imported
    assert imported.isdisjoint({"flask", "werkzeug", "kubernetes", "urllib3", "gunicorn", "marshmallow"})


@pytest.mark.parametrize("form", ["text", "github"])
def test_validate__escapes_control_characters_of_keys(validate: Validate, tmp_path: Path, form: str) -> None:
    """A line that begins with :: is a command in a workflow's log."""
    file = write(tmp_path, json.dumps({"Configurations": {}, "\n::stop-commands::x\n\x1b[2J": 1}))
    code, (line,), _ = validate("--format", form, file)
    assert code == 1
    assert line.isprintable()
    assert line.startswith("::stop") is False


def test_validate__finds_the_line_of_each_fault_of_a_large_document(validate: Validate, tmp_path: Path) -> None:
    definitions = {f"a{index}": {"Image": "busybox", "BackoffLimit": -1} for index in range(300)}
    file = write(tmp_path, json.dumps({"Configurations": definitions}, indent=1))
    found = json.loads("\n".join(validate("--format", "json", file)[1]))
    assert len({fault["line"] for fault in found}) == 300


def test_validate__skips_pipes_and_devices_in_folders(validate: Validate, tmp_path: Path) -> None:
    """Reading them may never end. A broken link is a fault."""
    write(tmp_path, json.dumps(GOOD), "jobs.json")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zeros.yaml").symlink_to("/dev/zero")
    assert validate(tmp_path) == (0, [], "")

    (tmp_path / "lost.yaml").symlink_to(tmp_path / "nowhere")
    code, (line,), _ = validate(tmp_path)
    assert (code, "lost.yaml" in line) == (1, True)


def test_validate__warns_of_a_public_definition_that_holds_a_secret(validate: Validate, tmp_path: Path) -> None:
    """A warning leaves the exit code at 0."""
    entry = {
        "Image": "busybox:1",
        "Visibility": "Public",
        "Environments": [{"Name": "TOKEN", "SecretRef": {"Name": "api", "Key": "token"}}],
    }
    file = write(tmp_path, json.dumps({"Configurations": {"a": entry}}), "jobs.json")
    code, lines, errors = validate(file)
    assert (code, lines) == (0, [])
    assert errors.startswith(
        f"warning: {file}: /Configurations/a/Visibility: anyone who reaches the service may start runs that hold "
        "a Secret (TOKEN), with Args of their choice; "
    )
    assert errors.count("\n") == 1


def test_validate__tells_differences_to_slimfaas_on_demand(validate: Validate, tmp_path: Path) -> None:
    file = write(tmp_path, json.dumps({"Configurations": {"a": {"Image": "busybox:1"}}}), "jobs.json")
    assert validate(file) == (0, [], "")
    code, lines, errors = validate(file, "--from-slimfaas")
    assert (code, lines) == (0, [])
    assert errors.startswith(f"warning: {file}: /Configurations/a/TtlSecondsAfterFinished: absent: ")


CRONJOB = """\
apiVersion: v1
kind: Service
metadata: {name: other}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: resize
  namespace: shop
  annotations:
    SlimFaas/Job: "true"
    SlimFaas/NumberParallelJob: "2"
spec:
  suspend: true
  schedule: "0 0 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: main
              image: busybox:1
"""


def test_validate__accepts_a_valid_definition_in_a_cronjob(validate: Validate, tmp_path: Path) -> None:
    assert validate(write(tmp_path, CRONJOB)) == (0, [], "")


def test_validate__skips_cronjobs_without_the_annotation(validate: Validate, tmp_path: Path) -> None:
    file = write(
        tmp_path, CRONJOB.replace('SlimFaas/Job: "true"', "other: x").replace("suspend: true", "suspend: false")
    )
    assert validate(file)[0] == 1
    assert validate("--allow-none", file) == (0, [], "")


@pytest.mark.parametrize(
    ("old", "new", "line", "fault"),
    [
        (
            'Job: "2"',
            'Job: "two"',
            12,
            "/metadata/annotations/SlimFaas~1NumberParallelJob: must be an integer",
        ),
        ("name: resize", "name: re.size", 8, "/metadata/name: a definition's name is a DNS label"),
        ("suspend: true", "suspend: false", 14, "/spec/suspend: must be true"),
        ("suspend: true", "x: true", 13, "/spec/suspend: must be true"),
        (
            "image: busybox:1",
            "image: 'busy box'",
            23,
            "/spec/jobTemplate/spec/template/spec/containers/0/image: ",
        ),
        (
            "- name: main",
            "- restartPolicy: 1",
            22,
            "/spec/jobTemplate/spec/template/spec/containers/0",
        ),
    ],
)
def test_validate__names_the_part_and_line_of_a_cronjobs_fault(
    validate: Validate, tmp_path: Path, old: str, new: str, line: int, fault: str
) -> None:
    file = write(tmp_path, CRONJOB.replace(old, new))
    code, lines, _ = validate("--format", "json", file)
    found = json.loads("\n".join(lines))
    assert code == 1
    assert any(f"{one['pointer']}: {one['message']}".startswith(fault) and one["line"] == line for one in found), found
    assert {one["place"] for one in found} == {f"CronJob shop/{'re.size' if 're.size' in new else 'resize'}"}


@pytest.mark.parametrize(("namespace", "conflicts"), [("shop", True), (None, True), ("other", False)])
def test_validate__warns_of_a_cronjob_whose_name_the_configuration_has(
    validate: Validate, tmp_path: Path, namespace: str | None, conflicts: bool
) -> None:
    """The configuration wins in a service that has both."""
    metadata = {"namespace": namespace} if namespace else {}
    configuration = yaml.safe_dump(
        config_map(
            "jobs", {"Configurations": {"resize": {"Image": "busybox:1"}, "b": {"Image": "busybox:1"}}}, **metadata
        )
    )
    code, lines, errors = validate(write(tmp_path, f"{CRONJOB}---\n{configuration}"))
    assert (code, lines) == (0, [])
    assert (
        "warning: " in errors and "CronJob shop/resize: /metadata/name: the configuration in" in errors
    ) is conflicts


def test_validate__checks_cronjobs_in_lists_and_in_json(validate: Validate, tmp_path: Path) -> None:
    cronjob = list(yaml.safe_load_all(CRONJOB))[1]
    del cronjob["kind"]
    cronjob["spec"]["suspend"] = False
    file = write(tmp_path, json.dumps({"kind": "CronJobList", "items": [cronjob]}), "list.json")
    code, (line,), _ = validate(file)
    assert (code, line.startswith(f"{file}: CronJob shop/resize: /spec/suspend: must be true")) == (1, True)


def test_validate__ends_where_aliases_make_a_cronjob_endless(validate: Validate, tmp_path: Path) -> None:
    anchors = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9) if n else 'a'}]" for n in range(12))
    text = f"{anchors}\nkind: CronJob\nmetadata: {{name: a, annotations: {{SlimFaas/Job: 'true'}}}}\n"
    code, (line,), _ = validate(write(tmp_path, f"{text}spec: {{suspend: true, jobTemplate: *x11}}\n"))
    assert (code, "larger than 131072 bytes" in line) == (1, True)
