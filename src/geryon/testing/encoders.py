"""What every encoder must do; subclass it in a test and give one, loaded."""

from __future__ import annotations

import numpy as np
import pytest

from geryon.errors import UsageError
from geryon.nets.encoder import Encoder


class EncoderContract:
    """Codes of its length, the same each time, each from its own patch alone."""

    encoder: Encoder
    within = 1e-5
    """Of the largest number: by how much codes may differ where patches lie in another batch."""

    def patches(self, n: int = 5) -> np.ndarray:
        """Patches with structure of all sizes: noise smoothed by steps, no two alike."""
        side, rng = self.encoder.patch_px, np.random.default_rng(0)
        out = np.zeros((n, side, side, 3))
        for step in (1, 4, 16):
            cells = -(-side // step)
            coarse = rng.integers(-40, 41, (n, cells, cells, 3))
            out += coarse.repeat(step, axis=1).repeat(step, axis=2)[:, :side, :side]
        return np.clip(out + 160, 0, 255).astype(np.uint8)

    def test_says_what_it_takes_and_gives(self) -> None:
        encoder = self.encoder
        assert encoder.name and len(encoder.sha256) == 64 and encoder.precision
        assert 0 < encoder.mpp < 100 and encoder.patch_px >= 1 and encoder.code >= 1
        assert encoder.lanes >= 1 and encoder.batch >= 1

    def test_shape_and_type_of_codes(self) -> None:
        for n in (0, 1, 5):
            codes = self.encoder(self.patches(n))
            assert codes.shape == (n, self.encoder.code) and codes.dtype == np.float32
            assert np.isfinite(codes).all()

    def test_the_same_patches_give_the_same_codes(self) -> None:
        patches = self.patches()
        before = patches.copy()
        np.testing.assert_array_equal(self.encoder(patches), self.encoder(patches))
        np.testing.assert_array_equal(patches, before)

    def test_a_code_depends_on_its_own_patch_alone(self) -> None:
        n = self.encoder.batch + 3
        patches = self.patches(n)
        together = self.encoder(patches)
        alone = np.concatenate([self.encoder(patches[i : i + 1]) for i in (0, 1, n - 1)])
        assert np.abs(together[[0, 1, n - 1]] - alone).max() <= self.within * max(1.0, np.abs(together).max())
        np.testing.assert_allclose(
            self.encoder(patches[::-1])[::-1], together, rtol=0, atol=self.within * max(1.0, np.abs(together).max())
        )
        assert len(np.unique(together, axis=0)) == n, "other patches, other codes"

    def test_other_types_and_sizes_are_refused(self) -> None:
        patches = self.patches(1)
        wrong = [patches.astype(np.float32), patches[:, :-1], patches[0], patches[..., :1]]
        for given in wrong:
            with pytest.raises(UsageError, match="takes RGB patches"):
                self.encoder(given)
