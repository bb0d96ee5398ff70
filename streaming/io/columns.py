"""A record of the feature log by the names of `features.spec.FEATURES`: what goes to Feast, what lands as Parquet."""

import numpy as np

from features.row import Value, columns
from streaming.schemas import FeatureRecord


def feature_columns(record: FeatureRecord) -> dict[str, Value]:
    """Return the columns of the views shopper_session and shopper_profile."""
    vector = np.frombuffer(record.session_vector, dtype="<f4")
    return {
        **columns(record.row),
        "session_vector": tuple(vector.tolist()),
        "model_version": record.model_version,
        "profile_state": record.profile_state,
        "spec_version": record.spec_version,
    }
