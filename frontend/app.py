"""What `streamlit run app.py` starts: the frame of every page, and the list of pages. One file a page, in views/.

Not in a folder named pages/: Streamlit runs the files of such a folder by itself, without this frame, for whoever comes
to a page's own address first.
"""

import sys
from pathlib import Path

import streamlit as st

HERE = Path(__file__).resolve().parent
# Streamlit puts this folder on the path; the pages import their modules as `frontend.…`, from wherever it was started.
if str(HERE.parent) not in sys.path:
    sys.path.insert(0, str(HERE.parent))

from frontend import sign_in  # noqa: E402  # found from here on
from frontend.settings import Settings  # noqa: E402

st.set_page_config(page_title="Ninefold", page_icon=str(HERE / "assets" / "icon.png"), layout="wide")
st.html(HERE / "assets" / "style.css")
st.logo(str(HERE / "assets" / "wordmark.svg"), size="large")
pages = st.navigation(
    [
        st.Page(HERE / "views" / "classify.py", title="Pictures", default=True),
        st.Page(HERE / "views" / "batch.py", title="Batch"),
        st.Page(HERE / "views" / "live.py", title="Live"),
        st.Page(HERE / "views" / "compare.py", title="Compare"),
        st.Page(HERE / "views" / "models.py", title="Models"),
    ],
    position="top",
)
sign_in.let_in(Settings.read())
pages.run()
