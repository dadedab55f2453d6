"""Messages that kafka-python has no schema for, or a wrong one: JSON in Kafka's form, one class each.

There is none yet: every API served so far has a schema that agrees with Kafka 4.1's, byte for byte (tests/golden). Add
`<Name>Request.json` and `<Name>Response.json` here, a class of the same name to `kafscale.protocol.messages`, made with
`class <Name>Request(ApiMessage, load_json=schemas)`, and its stub is that class.
"""
