"""A gRPC service without protocol buffers: messages are the bytes that they are. Prints its port."""

from concurrent import futures

import grpc


def say(request, context):
    told = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-for", told.get("x-forwarded-account", "nobody")), ("x-key", told.get("x-access-key-id", "none"))))
    if request == b"refuse":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so, \u00e9")
    return b"said " + request


def count(request, context):
    context.set_trailing_metadata((("x-count", request.decode()),))
    for number in range(int(request)):
        yield str(number).encode()


def gather(requests, context):
    return b"".join(requests)


def echo(requests, context):
    yield from requests


handlers = {
    "Say": grpc.unary_unary_rpc_method_handler(say),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Gather": grpc.stream_unary_rpc_method_handler(gather),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
}
server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("vicar.test.Echo", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
