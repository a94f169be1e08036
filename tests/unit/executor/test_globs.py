from __future__ import annotations

import pytest

from fleetmend_executor.globs import any_unit, base_of, is_protected, path_matches
from fleetmend_executor.units import names_on_disk


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/var/log/shop/*.gz", "/var/log/shop/a.gz", True),
        ("/var/log/shop/*.gz", "/var/log/shop/sub/a.gz", False),
        ("/var/log/shop/*.gz", "/var/log/shop/a.gz.keep", False),
        ("/srv/cache/**", "/srv/cache/a", True),
        ("/srv/cache/**", "/srv/cache/a/b/c", True),
        ("/srv/cache/**", "/srv/cache", False),
        ("/srv/cache/**", "/srv/cachet/a", False),
        ("/srv/**/tmp/*", "/srv/tmp/a", True),
        ("/srv/**/tmp/*", "/srv/a/b/tmp/c", True),
        ("/srv/**/tmp/*", "/srv/a/tmpx/c", False),
        ("/srv/file[0-9]", "/srv/file7", True),
        ("/srv/file[!0-9]", "/srv/file7", False),
        ("/srv/file[!0-9]", "/srv/filex", True),
        ("/srv/a?c", "/srv/abc", True),
        ("/srv/a?c", "/srv/a/c", False),
        ("/srv/a+b(c)", "/srv/a+b(c)", True),
        ("/srv/*", "/srv/a\nb", True),
        ("/srv/[", "/srv/[", True),
    ],
)
def test_path_patterns(pattern, path, matches):
    assert path_matches(path, pattern) is matches


def test_what_protects_a_folder_protects_all_in_it():
    assert is_protected("/srv/data/customer/a/b", ("/srv/data/customer",))
    assert is_protected("/srv/data/customer/a/b", ("/srv/data/cust*",))
    assert not is_protected("/srv/data/other", ("/srv/data/customer",))


def test_the_base_of_a_pattern_is_the_folder_above_its_first_wildcard():
    assert base_of("/srv/cache/**") == "/srv/cache"
    assert base_of("/srv/ca*/x/y") == "/srv"
    assert base_of("/*") == "/"
    assert base_of("/srv/cache") == "/srv/cache"


def test_unit_patterns():
    assert any_unit("systemd-logind.service", ("systemd-*",))
    assert any_unit("ssh.service", ("ssh",))
    assert not any_unit("ssh.socket", ("ssh",))
    assert not any_unit("a.systemd-x.service", ("systemd-*",))


def test_an_alias_is_known_by_the_links_of_systemd(tmp_path):
    (tmp_path / "friendly.service").symlink_to("/lib/systemd/system/systemd-logind.service")
    (tmp_path / "tpl@.service").symlink_to("real@.service")
    (tmp_path / "masked.service").symlink_to("/dev/null")
    (tmp_path / "loop.service").symlink_to("loop.service")
    assert names_on_disk("friendly.service", (str(tmp_path),)) == ("friendly.service", "systemd-logind.service")
    assert "real@x.service" in names_on_disk("tpl@x.service", (str(tmp_path),))
    assert names_on_disk("masked.service", (str(tmp_path),)) == ("masked.service",)
    assert names_on_disk("loop.service", (str(tmp_path),)) == ("loop.service",)
