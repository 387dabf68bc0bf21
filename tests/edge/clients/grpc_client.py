"""The four ways of gRPC, with statuses and trailers: grpc_client.py HOST:PORT CA KEY_ID SECRET."""

import sys
import threading

import grpc

target, ca, key, secret = sys.argv[1:]
channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(open(ca, "rb").read()))
with_key = {"metadata": (("x-access-key-id", key), ("x-access-key-secret", secret)), "timeout": 20}
say = channel.unary_unary("/vicar.test.Echo/Say")

answer, call = say.with_call(b"hello", **with_key)
trailers = dict(call.trailing_metadata())
assert (answer, call.code()) == (b"said hello", grpc.StatusCode.OK), answer
assert (trailers["x-for"], trailers["x-key"]) == ("app", "none"), trailers

counted = channel.unary_stream("/vicar.test.Echo/Count")(b"200", **with_key)
assert [int(number) for number in counted] == list(range(200))
assert dict(counted.trailing_metadata())["x-count"] == "200"

long = bytes(range(256)) * 400
assert channel.stream_unary("/vicar.test.Echo/Gather")(iter([long] * 8), **with_key) == long * 8

# A conversation: each message is answered before the next is sent.
said, turn = [], threading.Semaphore(1)


def talk():
    for number in range(20):
        assert turn.acquire(timeout=20)
        yield str(number).encode()


for message in channel.stream_stream("/vicar.test.Echo/Echo")(talk(), **with_key):
    said.append(int(message))
    turn.release()
assert said == list(range(20)), said


def status(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it was not refused")


error = status(lambda: say(b"refuse", **with_key))
assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not so, \u00e9"), error
error = status(lambda: say(b"hello", timeout=20))
assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
error = status(lambda: channel.unary_unary("/vicar.test.Other/Say")(b"hello", **with_key))
assert error.code() == grpc.StatusCode.PERMISSION_DENIED, error
