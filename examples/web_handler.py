"""Web handler: a picture is posted, what is in it comes back as JSON; one Detector serves every thread.

python examples/web_handler.py yolox_nano.onnx 8000
curl --data-binary @bus.jpg http://localhost:8000/
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

import streamdet

detector = streamdet.Detector(sys.argv[1])


class Handler(BaseHTTPRequestHandler):
    """Answers a POST with a list of detections."""

    def do_POST(self) -> None:
        """Decode, detect, answer; what is not a picture is 400."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pixels = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR) if body else None
        if pixels is None:
            self.send_error(400, "the body must be an image")
            return
        result = detector(pixels)
        detections = result.detections
        answer = [
            {"class": result.class_name(class_id), "score": score, "box": box}
            for class_id, score, box in zip(
                detections.class_ids.tolist(), detections.scores.tolist(), detections.boxes_xyxy.tolist(), strict=True
            )
        ]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler) as server:
    print("listening on", server.server_port, flush=True)
    server.serve_forever()
