"""What is tested here imports Keras as a trainer does: several seconds sooner than by `import keras`."""

from model.threads import import_with_tensorflow

import_with_tensorflow("keras", threads=1)
