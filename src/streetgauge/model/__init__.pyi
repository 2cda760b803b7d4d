from .bundle import Bundle as Bundle
from .classifier import BinomialOrdinalClassifier as BinomialOrdinalClassifier
from .crossvalidation import cross_validate as cross_validate
from .fitting import fit_model as fit_model
from .model import Model as Model
from .model import Predictions as Predictions
from .network import Network as Network
from .training import train_network as train_network
