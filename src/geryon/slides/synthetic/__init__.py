"""Seeded colon-like H&E slides of any size, whose truth is known exactly.

What lies at a place depends on the seed and the place alone: any box equals the crop of the whole, for the
picture and for the truth. Outlines are analytic; a pixel belongs to an object when its centre lies inside.
"""

from geryon.slides.synthetic.slide import Drawn, SyntheticSlide, Truth
from geryon.slides.synthetic.stain import Look, drawn_look

__all__ = ["Drawn", "Look", "SyntheticSlide", "Truth", "drawn_look"]
