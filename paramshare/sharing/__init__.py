"""Count the parameters of a model by sharing regime, and make its unshared twin."""

from paramshare.sharing.former_paths import install

install()
