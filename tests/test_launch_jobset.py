"""launch/jobset.yaml: its fields against a schema, its numbers against each other, its command as pods run it."""

import copy
import json
from functools import reduce

import jsonschema
import pytest

from tests.helpers import launchers
from tests.helpers.launchers import FAKES, JOIN, jobset, pods

pytestmark = pytest.mark.processes

VALIDATOR = jsonschema.Draft202012Validator(json.loads((FAKES / "jobset.schema.json").read_text()))
JOB = ("spec", "replicatedJobs", 0, "template", "spec")
POD = (*JOB, "template", "spec")
CONTAINER = (*POD, "containers", 0)


def at(tree, path):
    return reduce(lambda node, key: node[key], path, tree)


def test_the_jobset_fits_the_schema():
    VALIDATOR.check_schema(VALIDATOR.schema)
    assert [error.message for error in VALIDATOR.iter_errors(jobset())] == []


@pytest.mark.parametrize(
    "path,name,value",
    [
        ((), "apiVersion", "jobset.x-k8s.io/v1"),
        (("metadata",), "name", "Ltpml_Run"),
        (("spec", "failurePolicy"), "maxRestart", 3),
        (("spec", "failurePolicy"), "maxRestarts", "3"),
        (("spec", "failurePolicy", "rules", 0), "action", "Fail"),
        (("spec", "failurePolicy", "rules", 0), "onJobFailureReasons", ["PodFailure"]),
        (("spec", "network"), "enableDnsHostnames", True),
        (JOB, "completionMode", "indexed"),
        (JOB, "parallelism", "2"),
        (JOB, "backofflimit", 0),
        (POD, "restartPolicy", "Always"),  # a Job's pods may not have it
        (POD, "terminationGracePeriod", 60),
        (CONTAINER, "volumeMount", []),
        (CONTAINER, "command", "python"),
        ((*CONTAINER, "env", 1), "value", 2),  # YAML makes an unquoted 2 a number; Kubernetes wants a string
        ((*CONTAINER, "env", 0), "valueFrom", {"fieldRef": {"fieldPath": "metadata.name"}}),
        ((*CONTAINER, "env", 2, "valueFrom", "fieldRef"), "fieldPath", "metadata.annotation['a']"),
        ((*CONTAINER, "ports", 0), "containerPort", 84760),
        ((*CONTAINER, "resources", "limits"), "nvidia.com/gpus", 8),
        ((*POD, "volumes", 0, "persistentVolumeClaim"), "claim", "ltpml"),
    ],
)
def test_a_misspelt_field_or_a_wrong_type_is_found(path, name, value):
    wrong = copy.deepcopy(jobset())
    at(wrong, path)[name] = value
    assert [list(error.absolute_path)[: len(path)] for error in VALIDATOR.iter_errors(wrong)] == [list(path)]


def test_a_field_that_must_be_there_is_missed():
    for path, name in ((POD, "containers"), (CONTAINER, "image"), (("spec",), "replicatedJobs"), ((), "metadata")):
        wrong = copy.deepcopy(jobset())
        del at(wrong, path)[name]
        assert not VALIDATOR.is_valid(wrong), name


def test_the_numbers_and_names_agree():
    tree = jobset()
    job, container = at(tree, JOB), at(tree, CONTAINER)
    (replicated,) = tree["spec"]["replicatedJobs"]
    env = {entry["name"]: entry for entry in container["env"]}
    assert job["completionMode"] == "Indexed" and job["completions"] == job["parallelism"] > 1
    # The completion index counts within one Job, so it is the process's number only where there is one.
    assert replicated["replicas"] == 1
    assert env["JAX_NUM_PROCESSES"]["value"] == str(job["parallelism"] * replicated["replicas"])
    name = tree["metadata"]["name"]
    host, port = env["JAX_COORDINATOR_ADDRESS"]["value"].split(":")
    assert host == f"{name}-{replicated['name']}-0-0.{name}" and tree["spec"]["network"]["enableDNSHostnames"]
    assert [entry["containerPort"] for entry in container["ports"]] == [int(port)]
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert env["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"] == index


def test_failures_restart_everything_and_errors_of_the_user_do_not():
    tree = jobset()
    job, pod, container = at(tree, JOB), at(tree, POD), at(tree, CONTAINER)
    assert job["backoffLimit"] == 0 and tree["spec"]["failurePolicy"]["maxRestarts"] > 0
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy needs it
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["containerName"] == container["name"]
    assert rule["onExitCodes"]["values"] == [2] and rule["onExitCodes"]["operator"] == "In"
    (reaction,) = tree["spec"]["failurePolicy"]["rules"]
    assert (reaction["action"], reaction["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert pod["terminationGracePeriodSeconds"] >= 60


def test_workdir_and_data_lie_on_the_mounted_volume():
    container, pod = at(jobset(), CONTAINER), at(jobset(), POD)
    (mount,) = container["volumeMounts"]
    assert [volume["name"] for volume in pod["volumes"]] == [mount["name"]]
    paths = [word.split("=")[1] for word in container["args"] if word.startswith(("--workdir=", "--config.data.dir="))]
    assert len(paths) == 2 and all(path.startswith(mount["mountPath"] + "/") for path in paths)
    assert container["command"] == ["python", "-m", "ltpml_jax.main"]
    assert [word.split("=")[0] for word in container["args"]][:2] == ["--config", "--workdir"]


def test_the_pods_join(tmp_path):
    arguments = at(jobset(), CONTAINER)["args"]
    ended = pods(tmp_path, JOIN, arguments, limit=60)
    given = " ".join(arguments)
    assert [launchers.joined(done.stdout) for done in ended] == [[f"joined {rank} 2 21 {given}"] for rank in (0, 1)], (
        ended
    )
