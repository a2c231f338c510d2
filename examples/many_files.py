"""Many files: videos and folders side by side through one network, and a table of what each of them shows.

python examples/many_files.py a.mp4 b.mp4 photos/ yolox_nano.onnx
"""

import sys
from collections import Counter, defaultdict

import streamdet

*sources, model = sys.argv[1:]
frames, objects = Counter(), defaultdict(Counter)
# Results come as they are ready; those of one source are in order. batch: frames that the network sees at once.
for result in streamdet.detect(sources, model=model, batch=4):
    frames[result.frame.source_id] += 1
    objects[result.frame.source_id].update(result.counts())

for source, num in frames.items():
    print(f"{source}: {num} frames, {dict(objects[source].most_common(3))}")
