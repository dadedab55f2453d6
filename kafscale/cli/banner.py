"""What a broker says once it takes connections."""

_TEXT = """\
KafScale {version} is ready.
  bootstrap   {bootstrap}
  data        {data_dir}

Try it with kcat:
  echo hello | kcat -b {bootstrap} -t greetings -P
  kcat -b {bootstrap} -t greetings -C -e

or with Python (pip install kafka-python):
  python3 -c "import kafka; p = kafka.KafkaProducer(bootstrap_servers='{bootstrap}'); \
print(p.send('greetings', b'hello').get(10))"
"""


def banner(bootstrap: str, data_dir: str) -> None:
    """Print the bootstrap address, where the data is, and lines to paste for kcat and for Python."""
    from kafscale import __version__

    print(_TEXT.format(version=__version__, bootstrap=bootstrap, data_dir=data_dir), flush=True)
