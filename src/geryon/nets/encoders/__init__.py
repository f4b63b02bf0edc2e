"""Torch modules of encoders by name; each file has build(settings) -> Module.

The module takes patches, uint8 or float NCHW of RGB 0..255 with sides `patch_px`, and gives codes, float [n, `code`];
both are its attributes. Where it begins with means of pixels, it may call that layer (nn.AvgPool2d) `pool`: they are
then made before it, which is far quicker.
"""

TOPOLOGIES = {
    "layered": "geryon.nets.encoders.layered:build",
    "pooled": "geryon.nets.encoders.pooled:build",
    "timm": "geryon.nets.encoders.timm_:build",
}
"""Entry points of the group geryon.encoder_topologies add to it."""
GROUP = "geryon.encoder_topologies"
