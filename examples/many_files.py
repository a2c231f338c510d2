"""Many files: videos and folders side by side through one network, and a table of what each of them shows.

python examples/many_files.py a.mp4 b.mp4 photos/ yolox_nano.onnx --batch 4
"""

import argparse
from collections import Counter, defaultdict

import streamdet

parser = argparse.ArgumentParser()
parser.add_argument("sources", nargs="+")
parser.add_argument("model")
parser.add_argument("--batch", type=int, default=1, help="frames that the network sees at once, if its file lets them")
words = parser.parse_args()
frames, objects = Counter(), defaultdict(Counter)
# Results come as they are ready; those of one source are in order.
for result in streamdet.detect(words.sources, model=words.model, batch=words.batch):
    frames[result.frame.source_id] += 1
    objects[result.frame.source_id].update(result.counts())

for source, num in frames.items():
    print(f"{source}: {num} frames, {dict(objects[source].most_common(3))}")
