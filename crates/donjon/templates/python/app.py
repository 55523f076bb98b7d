"""Greets the path it is asked for."""

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        name = (request.path_with_query() or "").lstrip("/")
        response = OutgoingResponse(Fields())
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        # The stream ends before the body it belongs to.
        with body.write() as stream:
            stream.blocking_write_and_flush(f"Hello from Python, {name}!\n".encode())
        OutgoingBody.finish(body, None)
