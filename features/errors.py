"""All errors of this project's own. Whatever a caller may want to catch, `RheostatError` is above it.

    RheostatError
    ├── InputError                what was given cannot be used; the message says what was found and expected
    │   ├── DatasetError
    │   ├── ArtifactError
    │   │   └── DeviceError
    │   ├── PolicyError
    │   │   └── PolicyMovedError
    │   ├── ExpressionError
    │   ├── RestoreError
    │   ├── SubmissionError
    │   ├── ClientPropertiesError
    │   ├── HomeError
    │   ├── ConfigFileError
    │   ├── PositionError
    │   ├── LoggedSlatesError
    │   ├── ExplanationError
    │   ├── RequestRefusedError
    │   ├── EventRefusedError
    │   ├── ItemFileError
    │   ├── TensorError
    │   └── TrainingSetError
    ├── UnavailableError          what has to be there is not, or not as it must be
    │   ├── TopicError
    │   ├── AccessError
    │   ├── FeastRepoError
    │   ├── SchemaRegistryError
    │   ├── StorageError
    │   ├── JarsError
    │   ├── OnlineStoreError
    │   ├── StateError
    │   ├── StartError
    │   ├── JobError
    │   ├── NotReadyError
    │   ├── DeliveryError
    │   ├── RequestExpiredError
    │   ├── RequestFailedError
    │   └── NoEnvironmentError
    ├── ModelError                a model cannot be made, or is not to be believed
    │   ├── TrainingError
    │   ├── ParityError
    │   └── ModelAnswerError
    └── UnknownItemError

Their messages are for operators, who can mend them: the command `rheostat` prints them and ends with exit code 2.
"""


class RheostatError(Exception):
    """Of this project."""


class InputError(RheostatError):
    """What was given cannot be used."""


class DatasetError(InputError):
    """The data are not where or what they should be; the message says what was found and what was expected."""


class ArtifactError(InputError):
    """An artifact is missing or is not what its manifest says; the message names the file and the remedy."""


class DeviceError(ArtifactError):
    """A model cannot run on the device that was asked for; the message names both and the remedy."""


class PolicyError(InputError):
    """A policy is not written; the message says why."""


class PolicyMovedError(PolicyError):
    """The policy that a change was made from is no longer in force; the message says which is, and whose."""


class ExpressionError(InputError):
    """An expression cannot be used; the message says why and what can be said."""


class RestoreError(InputError):
    """There is nothing to restore from; the message says where it was looked for."""


class ClientPropertiesError(InputError):
    """Properties of Kafka's clients cannot be used; the message says where, what was found and what was expected."""


class SubmissionError(InputError):
    """An option of a job is for another way to run it; the message says which, and where to say it instead."""


class HomeError(InputError):
    """A folder is not ours to write to; the message says what it holds and what to do."""


class ConfigFileError(InputError):
    """A file of options cannot be used; the message says where, what was found and what was expected."""


class PositionError(InputError):
    """What has landed does not belong to what is to land; the message says why, and that nothing was touched."""


class LoggedSlatesError(InputError):
    """The log cannot be used; the message says what was found and what to do."""


class ExplanationError(InputError):
    """A slate cannot be explained; the message says why."""


class RequestRefusedError(InputError):
    """A request for a slate cannot be used; the message says why."""


class EventRefusedError(InputError):
    """An event cannot be used; the message says which and why."""


class ItemFileError(InputError):
    """A file of items cannot be used; the message says what was found and what to say."""


class TensorError(InputError):
    """A graph cannot be asked with these tensors; the message says why and what it takes."""


class TrainingSetError(InputError):
    """There is nothing to make one from; the message says where it was looked for."""


class UnavailableError(RheostatError):
    """What has to be there is not, or not as it must be."""


class TopicError(UnavailableError):
    """A topic is not as it must be; the message says what was found and what to do."""


class AccessError(UnavailableError):
    """A cluster lets us not in, or not do something; the message names who, what, and the remedy."""


class SchemaRegistryError(UnavailableError):
    """A schema registry does not answer or does not take a schema; the message says which and what it said."""


class FeastRepoError(UnavailableError):
    """Feast could not apply our definitions; the message says where and what it said."""


class StorageError(UnavailableError):
    """Storage elsewhere cannot be reached; the message says where and why."""


class DeliveryError(UnavailableError):
    """The broker does not take what is sent; the message says which and why."""


class RequestExpiredError(UnavailableError):
    """A request for a slate was not answered before its deadline."""


class RequestFailedError(UnavailableError):
    """The job raised at a request for a slate; the message says what."""


class OnlineStoreError(UnavailableError):
    """The store cannot be used; the message says which, why, and what to do."""


class StateError(UnavailableError):
    """The engine's state cannot be read."""


class JarsError(UnavailableError):
    """The Java of the jobs is not there; the message says where it was looked for and how to get it."""


class StartError(UnavailableError):
    """A server did not come up; the message carries the end of its log."""


class JobError(UnavailableError):
    """A job ended or did not answer; the message carries the end of its log."""


class NotReadyError(UnavailableError):
    """The job did not answer, or not steadily, in time; the message says what came."""


class NoEnvironmentError(UnavailableError):
    """The environment of a benchmark is not there; the message says what to do."""


class ModelError(RheostatError):
    """A model cannot be made, or is not to be believed."""


class TrainingError(ModelError):
    """No model could be trained; the message says why."""


class ParityError(ModelError):
    """The exported graph answers differently from the torch model; the message says where and by how much."""


class ModelAnswerError(ModelError):
    """A model raised, or answered with what cannot be an answer; the message says with what."""


class UnknownItemError(RheostatError):
    """A candidate is an item of which nothing is known here; the argument is its id."""
