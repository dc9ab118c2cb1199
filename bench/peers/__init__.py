"""Our server beside those of others, all with ResNet-18, on the same photographs, asked by the same client.

    python -m bench.peers                     photographs of 120 KB, int8 for us and for the peer with our network
    python -m bench.peers --megapixels 12     a camera's files

`__main__.py` measures. The other modules are the peers, written as their documentation has it; each runs alone, in
.venv-peers, and imports nothing of Ninefold. It is given a folder with `resnet18.pth` (a state_dict), `model.xml` (our
network) and `labels.txt`.
"""
