"""Nothing secret of a driver file is shown or stored, however it is written there."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokerbench.bench.commands import omb
from brokerbench.bench.errors import BadInput
from brokerbench.brokers import masking
from brokerbench.scenarios.omb import driver_file

HEAD = "name: Kafka\ndriverClass: io.openmessaging.benchmark.driver.kafka.KafkaBenchmarkDriver\n"
SECRET = "hunter2SECRETvalue"

HOSTILE = [
    "redisPass: {s}",
    "redisPassword: '{s}'",
    "jedisPoolPwd: {s}",
    'commonConfig: |\n  sasl.jaas.config=org.apache.kafka.PlainLoginModule required username="u" password="{s}";\n',
    'commonConfig: |\n  sasl.jaas.config=PlainLoginModule required \\\n    username="{s}" \\\n    password="{s}";\n',
    "commonConfig: |\n  ssl.keystore.password={s}\n  ssl.key.password = {s}\n  ssl.truststore.location=/k/{s}\n",
    "commonConfig: |\n  SSL.TrustStore.Password={s}\n  acks=1\n",
    "commonConfig: |\n  # old: password={s}\n  ! secret={s}\n  acks=1\n",
    "commonConfig: |\n  bootstrap.servers=kafka://user:{s}@host:9092\n",
    "commonConfig: |\n  proxy=http://u:p@{s}@host/x\n",
    "commonConfig: |\n  url=https://host/x?user=a&token={s}&more=1\n",
    "commonConfig: |\n  password: {s}\n  url: x\n",
    "address: redis://:{s}@127.0.0.1:6379\n",
    "address: https://user:{s}=@host/?a=b\n",
    "bootstrap.servers: kafka://user:{s}@host:9092\n",
    "client:\n  authentication:\n    plugin: org.Token\n    data: token:{s}\n",
    "client:\n  serviceUrl: x\n  clientSecret: {s}\n  keys: [a, {{accessKey: {s}}}]\n",
    "awsSecretAccessKey: {s}\n",
    "aws_access_key_id: {s}\n",
    "apiKey: {s}\n",
    "connectionString: Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey={s}\n",
    'extra: \'{{"user": "u", "password": "{s}"}}\'\n',
    'extra: \'{{"secret": "a b {s}"}}\'\n',
    "pem: |\n  -----BEGIN PRIVATE KEY-----\n  {s}\n  -----END PRIVATE KEY-----\n",
    "other: eyJhbGciOiJIUzI1NiJ9.{s}.x\n",
    "redisPass: *{s}\n",
    "redisPass: !{s} x\n",
    "producerConfig: |\n  linger.ms=abc\n  password={s}\n",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_secret_is_shown_or_stored(text: str, tmp_path: Path) -> None:
    path, workload = tmp_path / "driver.yaml", tmp_path / "workload.yaml"
    path.write_text(HEAD + text.format(s=SECRET), encoding="utf-8")
    workload.write_text(
        "name: w\ntopics: 1\npartitionsPerTopic: 1\nmessageSize: 1024\nsubscriptionsPerTopic: 1\n"
        "consumerPerSubscription: 1\nproducersPerTopic: 1\nproducerRate: 100\nconsumerBacklogSizeGB: 0\n"
        "testDurationMinutes: 1\nwarmupDurationMinutes: 1\nkeyDistributor: NO_KEY\nuseRandomizedPayloads: false\n"
        "payloadFile: none.data\n",
        encoding="utf-8",
    )
    try:
        plan = omb.omb_plan(omb.Files(workload, path, None), ["memory"], [], 1)
    except BadInput as refused:
        assert str(path) in str(refused)
        shown = str(refused)
    else:
        shown = repr(plan)
        assert "not honoured" in shown
    assert SECRET not in shown


def test_what_is_no_secret_stays(tmp_path: Path) -> None:
    path = tmp_path / "driver.yaml"
    path.write_text(
        HEAD + "commonConfig: |\n  bootstrap.servers=kafka-1:9092\n  sasl.mechanism=PLAIN\n  compression.type=lz4\n"
        "  key.serializer=x.ByteArraySerializer\nbatches: 3\nreset: true\n",
        encoding="utf-8",
    )
    shown = " ".join(driver_file.read(path).not_honoured.values())
    assert masking.MASK not in shown
    assert all(value in shown for value in ("kafka-1:9092", "PLAIN", "lz4", "x.ByteArraySerializer", "3", "True"))


def test_a_setting_that_is_no_number_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "driver.yaml"
    path.write_text(HEAD + "producerConfig: |\n  linger.ms=abc\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"driver\.yaml, line \d+: producerConfig\.linger\.ms must be a number, not 'abc'"
    ):
        driver_file.read(path)


def test_an_address_loses_its_credentials_only() -> None:
    assert masking.text("redis://me:pw@host:1/0") == "redis://***@host:1/0"
    assert masking.text("a=1, password=pw, b=2") == "a=1, password=***, b=2"
    assert masking.setting("password", "") == ""
