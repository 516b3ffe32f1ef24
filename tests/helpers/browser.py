"""A page in a real browser without a screen: `python tests/helpers/browser.py PAGE FOLDER` prints what it did as JSON.

Needs PyQt6-WebEngine, which carries Chromium; the status is 69 where it cannot be imported. Standard input has a JSON
list of scripts; they run one after the other, and the page is loaded anew for the script "reload". FOLDER gets page.png
and what the page downloads.
"""

import json
import os
import sys
from pathlib import Path

os.environ |= {
    "QT_QPA_PLATFORM": "offscreen",
    "QT_QUICK_BACKEND": "software",
    "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu",
}

try:
    from PyQt6.QtCore import QTimer, QUrl
    from PyQt6.QtWebEngineCore import (
        QWebEngineDownloadRequest,
        QWebEnginePage,
        QWebEngineProfile,
        QWebEngineUrlRequestInfo,
        QWebEngineUrlRequestInterceptor,
    )
    from PyQt6.QtWebEngineWidgets import QWebEngineView
    from PyQt6.QtWidgets import QApplication
except ImportError as error:
    print(error)
    sys.exit(os.EX_UNAVAILABLE)

WAIT = 500  # milliseconds for a picture or a download
found: dict[str, list] = {"results": [], "messages": [], "requests": [], "downloads": []}


class Requests(QWebEngineUrlRequestInterceptor):
    """Notes what the page asks for."""

    def interceptRequest(self, info: QWebEngineUrlRequestInfo) -> None:
        found["requests"].append(info.requestUrl().scheme())


class Page(QWebEnginePage):
    """Notes what the page complains of, and says yes to its questions."""

    def javaScriptConsoleMessage(self, level: object, message: str | None, line: int, source: str | None) -> None:
        found["messages"].append(message)

    def javaScriptConfirm(self, origin: QUrl, message: str | None) -> bool:
        return True


def main(address: str, folder: Path, scripts: list[str]) -> None:
    """Load, run all scripts, take the picture, print."""
    application = QApplication(["browser"])
    profile, requests, view = QWebEngineProfile(), Requests(), QWebEngineView()
    profile.setUrlRequestInterceptor(requests)
    page = Page(profile, view)
    view.setPage(page)
    view.resize(1000, 700)

    def save(download: QWebEngineDownloadRequest) -> None:
        download.setDownloadDirectory(str(folder))
        found["downloads"].append(download.downloadFileName())
        download.accept()

    def advance(result: object = None) -> None:
        if not scripts:
            QTimer.singleShot(WAIT, finish)
        elif (script := scripts.pop(0)) == "reload":
            page.load(QUrl(address))
        else:
            page.runJavaScript(script, lambda result: (found["results"].append(result), advance()))

    def finish() -> None:
        view.grab().save(str(folder / "page.png"))
        application.quit()

    profile.downloadRequested.connect(save)
    page.loadFinished.connect(lambda whole: advance())
    page.load(QUrl(address))
    view.show()
    application.exec()
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # Qt takes its parts down in an order that Python does not know


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.load(sys.stdin))
