"""Number formats; what is expected is what Excel shows."""

import datetime as dt

import pytest

from ftbridge.adapters.sources.workbook.number_formats import displayed_text, is_known_format

AT = dt.datetime.fromisoformat("2019-01-02T15:04:05.678")


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (69.0, "General", "69"),
        (0.1 + 0.2, "General", "0.3"),
        (-1234.56789012, "General", "-1234.56789"),
        (12345678901, "General", "12345678901"),
        (123456789012, "General", "1.23457E+11"),
        (0.00001, "General", "0.00001"),
        (0.0000123456, "General", "1.23456E-05"),
        (7, 'General" kg"', "7 kg"),
        (0, "General", "0"),
        (0.256, "0%", "26%"),
        (0.256, "0.00%", "25.60%"),
        (1.005, "0.00", "1.01"),
        (-2.5, "0", "-3"),
        (0.5, "#.##", ".5"),
        (3, "0.##", "3."),
        (3.1, "0.0#", "3.1"),
        (5, "000", "005"),
        (1234567.891, "#,##0", "1,234,568"),
        (1234567.891, "#,##0.00", "1,234,567.89"),
        (1234567.891, "#,##0,", "1,235"),
        (1234567.891, '0.0,,"M"', "1.2M"),
        (12, "0,000", "0,012"),
        (13812345678, "000-0000-0000", "138-1234-5678"),
        (1234.5, '"$"#,##0.00_);("$"#,##0.00)', "$1,234.50"),
        (-1234.5, '"$"#,##0.00_);[Red]("$"#,##0.00)', "($1,234.50)"),
        (-1234.5, "[$€-407]#,##0.00", "-€1,234.50"),
        (99.5, "¥0.00", "¥99.50"),
        (0, '0;-0;"none"', "none"),
        (0, r'_(* #,##0.00_);_(* \(#,##0.00\);_(* "-"??_);_(@_)', "-"),
        (5, ";;;", ""),
        (12345, "0.00E+00", "1.23E+04"),
        (0.00012, "0.0E-0", "1.2E-4"),
        (99999, "0.0E+0", "1.0E+5"),
        (12345, "##0.0E+0", "12.3E+3"),
        (0, "0.00E+00", "0.00E+00"),
        (5.25, "# ?/?", "5 1/4"),
        (5.3, "# ??/??", "5 3/10"),
        (0.5, "# ?/?", "1/2"),
        (0.99, "# ?/?", "1"),
        (2.5, "?/?", "5/2"),
        (0.26, "0 ?/8", "0 2/8"),
        (1500, '[>=1000]0.0,"k";0', "1.5k"),
        (-5, '[<0]"minus "0;0', "minus 5"),
        (12, "[Blue][<100]0;[Red]0.0", "12"),
        (5, "[>10]0;[>20]0", None),
        (5, "@", "5"),
        (True, "0.00", "TRUE"),
        ("abc", "0.00", "abc"),
        ("abc", '0;-0;0;"<"@">"', "<abc>"),
        ("abc", '@" ok"', "abc ok"),
        (AT, "yyyy-mm-dd", "2019-01-02"),
        (AT, "yyyy\\-mm\\-dd\\ hh:mm:ss", "2019-01-02 15:04:06"),
        (AT, "mm-dd-yy", "1/2/2019"),
        (AT, "d-mmm-yy", "2-Jan-19"),
        (AT, "[$-409]dddd, mmmm d, yyyy;@", "Wednesday, January 2, 2019"),
        (AT, "ddd mmmmm", "Wed J"),
        (AT, 'yyyy"年"m"月"d"日"', "2019年1月2日"),
        (AT, "h:mm AM/PM", "3:04 PM"),
        (AT, "上午/下午h:mm", "下午3:04"),
        (AT, "h:mm:ss.00", "15:04:05.68"),
        (AT, "mm:ss", "04:06"),
        (AT, "dd.mm.yyyy", "02.01.2019"),
        (AT.date(), "m/d/yy h:mm", "1/2/19 0:00"),
        (dt.time(0, 30), "h:mm AM/PM", "12:30 AM"),
        (dt.timedelta(hours=26, minutes=3, seconds=4), "[h]:mm:ss", "26:03:04"),
        (dt.timedelta(minutes=90), "[mm]:ss", "90:00"),
        (43467.5, "yyyy-mm-dd hh:mm", "2019-01-02 12:00"),
        (AT, "0.0", "43467.6"),
        (-1, "yyyy", None),
        (1e12, "yyyy", None),
        (1e300, "0.00", None),
        (AT, '[$-411]ggge"年"', None),
        (AT, "[$-804]mmmm", None),
        (AT, "[$-804]yyyy-mm", "2019-01"),
        (5, "[DBNum1]0", None),
    ],
)
def test_a_value_is_what_excel_shows(value, code, text):
    assert displayed_text(value, code) == text


def test_a_format_that_is_not_known_is_told():
    assert [is_known_format(code) for code in ("", "0.0", "[DBNum1]0", '"open')] == [True, True, False, False]


@pytest.mark.parametrize("character", [",", "%", "?"])
def test_a_format_longer_than_any_of_excels_is_not_known(character):
    assert is_known_format("0" + character * 254)
    assert not is_known_format("0" + character * 255)
    assert displayed_text(1234.5, "0" + character * 100_000) is None
