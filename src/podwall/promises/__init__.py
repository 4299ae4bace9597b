"""What a team promises about its policies, and whether they keep it.

An expectations file says who may reach whom: :mod:`~podwall.promises.decode` makes
:class:`~podwall.promises.model.Promise` values of it, :mod:`~podwall.promises.judging` asks the
oracle about every pair of ends that a promise means, :mod:`~podwall.promises.report` and
:mod:`~podwall.promises.junit` say what came of it. A promise that means nobody is broken: it guards
nothing.
"""
