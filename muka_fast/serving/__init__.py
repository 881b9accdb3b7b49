"""An exported classifier over HTTP, with the ``/predict`` schema of text-embeddings-inference. Needs no torch.

* ``app``: the FastAPI application: routes and errors
* ``batcher``: waiting requests joined into batches by one thread
* ``guard``: limits and measurements around every request
* ``metrics``: Prometheus metrics
* ``schema``: requests, replies and errors as JSON
* ``server``: uvicorn on a socket, until a signal ends it
"""
