"""Names for the shapes that cross rooms; checked in tests only."""

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64, Int32, UInt8

Image = UInt8[np.ndarray, "y x 3"]
Mask = Bool[np.ndarray, "y x"]
Labels = Int32[np.ndarray, "y x"]
Raster = UInt8[np.ndarray, "y x"]
Maps = UInt8[np.ndarray, "y x channel"]
Target = Float32[np.ndarray, "y x channel"]
Weight = Float32[np.ndarray, "y x"]
Points = Float64[np.ndarray, "n 2"]
Features = Float16[np.ndarray, "row column code"]
