"""Sources of the datasets: addresses, sizes, published checksums, terms.

Sizes and SHA-256 of DomainNet are those of TensorFlow Datasets (``domainnet/checksums.tsv``);
those of its test lists were compared with the files. MD5 of Office-Home and VLCS are those that several public loaders
check. PACS is fetched at fixed commits: git's id of a folder stands for every file in it. A file without ``checksum``
and ``tree`` has no published one.
"""

from __future__ import annotations

from dataclasses import dataclass

_MEBIBYTE = 1 << 20
_FLOOR = 64 * _MEBIBYTE
_RATIO = 20


@dataclass(frozen=True)
class RemoteFile:
    """One file of a dataset.

    - ``name``: its local name, and its name below a mirror
    - ``url``: None: it has to be downloaded by hand
    - ``most``: largest size in bytes, where ``size`` is not known exactly
    - ``checksum``: ``sha256:...`` or ``md5:...``
    - ``place``: for a file that is no archive, its path in the dataset's folder
    - ``inside``: for an archive, the folder in it whose content is moved into the dataset's folder
    - ``tree``: git's id of that folder
    - ``unpacked``: largest unpacked size in bytes; by default twenty times its size, which no archive of images reaches
    """

    name: str
    url: str | None
    size: int | None = None
    most: int = 0
    checksum: str | None = None
    place: str | None = None
    inside: str = ""
    tree: str | None = None
    unpacked: int | None = None

    @property
    def largest(self) -> int:
        """Largest size in bytes."""
        return self.size if self.size is not None else self.most

    @property
    def published_checksum(self) -> str | None:
        """The published checksum of the file or of the folder in it; None where there is none."""
        return self.checksum or (f"git-tree:{self.tree}" if self.tree else None)

    def most_unpacked(self, size: int) -> int:
        """Largest unpacked size, in bytes, of the archive of ``size`` bytes."""
        return self.unpacked if self.unpacked is not None else max(_FLOOR, _RATIO * size)


@dataclass(frozen=True)
class Source:
    """The source of a dataset: ``page`` describes it, ``terms`` are its license or terms of use.

    ``folders`` are those that have to be in the dataset's folder in the end; ``arrangement`` names the one in
    ``arranging.ARRANGEMENTS`` that makes them from what was unpacked, where they do not lie there as they are.
    """

    summary: str
    page: str
    terms: str
    folders: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    arrangement: str | None = None


def _domainnet() -> tuple[RemoteFile, ...]:
    base = "http://csr.bu.edu/ftp/visda/2019/multi-source"
    archives = {
        "clipart": ("groundtruth/", 1270909081, "f8f248a3e8bbc9868c523ae24e6601b4c2ad102afc60c0efeb4f3255df22354d"),
        "infograph": ("", 4338659804, "891e14f476317e97b6f06d6498c11d0a5b8d0c8b57210765ed9beb072da611fa"),
        "painting": ("groundtruth/", 3679366174, "fa47e6d405503ea0286cabd767f176bd30e988b63ddd7b9db16cf030c9770015"),
        "quickdraw": ("", 459920701, "9f37df2a8c3733703dbb35ad9964202a65f675ca30137756457537536b485d84"),
        "real": ("", 6062039589, "d7fe010b430c5b510f85d657d38c4a1924822695fabea4fef57bd00dba251d63"),
        "sketch": ("", 2633992926, "23a7dbae7016b343e934399beaa8a68728fb5e570ebe2c71df9b75cf91c499fc"),
    }
    lists = {
        "clipart_train": (1443819, "affdadf5f95a7583e6b98030a3d35007e2613ee4dd942393c5a705ec2b429312"),
        "clipart_test": (628917, "62c8e36aaba1c41ad9e249099739707220a44c08f167b37ef420f34a31628a6b"),
        "infograph_train": (1683098, "36b44cbd41a2915e0dc73b4f4be8862a6f3c220f93c8d63fb2439beeae3aefda"),
        "infograph_test": (728028, "413cfa54ac92e7e6b242f4f09fbd9c8ace85c4deaf3cb6c81ff6b68264460136"),
        "painting_train": (2241901, "f1da38d50a702fddf1329f85bc607d7a2abcae7e6aec75e1fd49cc1bd340d47b"),
        "painting_test": (971888, "11472b13b5188e09f06918b12eebb660588c97a20e43e268d9b02e3e37eb8f97"),
        "quickdraw_train": (5164600, "3a5edd3bc215772010eebc87f158707703dd7e48091d13b816af81326a9d1c0f"),
        "quickdraw_test": (2213400, "2a00a60650a453c65c356da748fec54084a197272137c440e7d52d08947357bf"),
        "real_train": (4440944, "19d483256d24aef19e581b65eda8333fd918aef3eb733fe499ff384120e3a289"),
        "real_test": (1911327, "2b3f75bcde309aeb5931292084b2162e936b5f189e3bb1ad716f0f74c460864c"),
        "sketch_train": (1960222, "72f4bc6afa5702a1ccba800d0053c1427de87439dfaf246dbc9a2e71abfec54f"),
        "sketch_test": (850581, "3fb48fca18c507c4321f007c3f62b308ec232ff6928cbfe2af64e76ec366e840"),
    }
    return tuple(
        RemoteFile(f"{name}.txt", f"{base}/domainnet/txt/{name}.txt", size, 0, f"sha256:{digits}", f"splits/{name}.txt")
        for name, (size, digits) in lists.items()
    ) + tuple(
        RemoteFile(f"{name}.zip", f"{base}/{where}{name}.zip", size, 0, f"sha256:{digits}")
        for name, (where, size, digits) in archives.items()
    )


def _pacs() -> tuple[RemoteFile, ...]:
    commit = "d586a6cf3db84896fb6cc465c7bf51bdaf6d65d8"
    images = RemoteFile(
        "pacs.zip",
        f"https://github.com/MachineLearning2020/Homework3-PACS/archive/{commit}.zip",
        most=210 * _MEBIBYTE,
        inside=f"Homework3-PACS-{commit}/PACS",
        tree="8c954048012da852a77335f4e6dc6861e5723505",
        unpacked=191395496 + _MEBIBYTE,
    )
    base = (
        "https://raw.githubusercontent.com/DeLightCMU/RSC/bf6d280c5d74910f009ea8963c59167252659666/"
        "Domain_Generalization/data/correct_txt_lists"
    )
    lists = {
        "art_painting_crossval": (6988, "107df27227941f75cbc871a8db483d9f550d537c925aaaca8cd18eb9cc79c500"),
        "art_painting_test": (68794, "4943fe963e2096e55f15ec83e186007fe4bb51e85b84c5ec040528281a9affeb"),
        "art_painting_train": (61806, "f2b08879408bc8951cb4e6d79a0ecf8f12c2f9ebd7933499922b87c4e96cd67e"),
        "cartoon_crossval": (6821, "a3e6ad7b3906fda800f7b2f3c34cf9f5702ddc40375ab99cc7a181d14c5330af"),
        "cartoon_test": (67457, "a515fc79fdc21c42d66f4286161dd37da079ef0360c5728800b959f1558f72df"),
        "cartoon_train": (60636, "937e5927d409b3c3aa1f925414dfadf107a3ea734c1f6318fd1223ecbec2449c"),
        "photo_crossval": (4714, "94bf87cf84141c9a3b7a5748fd88f910127c73bb471546d585dd9a21be6762f0"),
        "photo_test": (48735, "9c5a0b350154c390d7ca73c3b67eba27116ac56d1f4c49b3d642da2b6db3df3e"),
        "photo_train": (44021, "4666345041ae3dd447427d46ef8a2b698a4467205dfc0bd0fd0aff636b38ba41"),
        "sketch_crossval": (13338, "eca14c0838824751024868e0e6ecc7380ad0f77dc327ecd3a1f948bdebf92509"),
        "sketch_test": (137732, "d03f5d6d35c24abd3321bab3f7f14364f91069c491f99966cc841c64a8e715ef"),
        "sketch_train": (124394, "e4b4df3a95f67c65cb4a6daff0baa26954ab622e88df84cd76f839daad601539"),
    }
    files = tuple(
        RemoteFile(
            f"{name}_kfold.txt", f"{base}/{name}_kfold.txt", size, 0, f"sha256:{digits}", f"splits/{name}_kfold.txt"
        )
        for name, (size, digits) in lists.items()
    )
    return (*files, images)


_LILA = "https://storage.googleapis.com/public-datasets-lila/caltechcameratraps"
_FAIR_USE = "for non-commercial research and education (fair use): some images are under copyright of others"

SOURCES: dict[str, Source] = {
    "pacs": Source(
        summary="9,991 images (191 MB) from a public copy at a fixed commit, with the authors' official lists",
        page="https://dali-dl.github.io/project_iccv2017.html",
        terms="for research; cite Li, Yang, Song, Hospedales: Deeper, Broader and Artier Domain Generalization (ICCV 2017)",
        folders=("art_painting", "cartoon", "photo", "sketch", "splits"),
        files=_pacs(),
    ),
    "domainnet": Source(
        summary="about 0.6 million images (18.4 GB), cleaned version, with the official train and test lists",
        page="http://ai.bu.edu/M3SDA/",
        terms=f"{_FAIR_USE}; cite Peng et al.: Moment Matching for Multi-Source Domain Adaptation (ICCV 2019)",
        folders=("clipart", "infograph", "painting", "quickdraw", "real", "sketch", "splits"),
        files=_domainnet(),
    ),
    "office_home": Source(
        summary="15,588 images; fetched by hand from Google Drive, checked and arranged here",
        page="https://www.hemanthdv.org/officeHomeDataset.html",
        terms=f"{_FAIR_USE}; cite Venkateswara et al.: Deep Hashing Network for Unsupervised Domain Adaptation (CVPR 2017)",
        folders=("Art", "Clipart", "Product", "Real World"),
        files=(
            RemoteFile(
                "OfficeHomeDataset_10072016.zip",
                None,
                most=2048 * _MEBIBYTE,
                checksum="md5:b1c14819770c4448fd5b6d931031c91c",
                inside="OfficeHomeDataset_10072016",
            ),
        ),
    ),
    "vlcs": Source(
        summary="10,729 images; fetched by hand from Google Drive (the copy that DomainBed uses), checked and arranged here",
        page="https://drive.google.com/uc?id=1skwblH1_okBwxWxmRsp9_qi15hyPpxg8",
        terms=(
            "for research, under the terms of its four parts (Caltech101, LabelMe, SUN09, PASCAL VOC 2007); cite Fang, Xu, "
            "Rockmore: Unbiased Metric Learning (ICCV 2013)"
        ),
        folders=("Caltech101", "LabelMe", "SUN09", "VOC2007"),
        files=(
            RemoteFile(
                "VLCS.tar.gz",
                None,
                most=8192 * _MEBIBYTE,
                checksum="md5:8870171eba660927d9668f4e515928e4",
                inside="VLCS",
            ),
        ),
    ),
    "terra_incognita": Source(
        summary="four locations and ten classes of Caltech Camera Traps (6.5 GB to fetch); no checksum is published",
        page="https://lila.science/datasets/caltech-camera-traps",
        terms=(
            "Community Data License Agreement, permissive variant; cite Beery, Van Horn, Perona: Recognition in Terra "
            "Incognita (ECCV 2018)"
        ),
        folders=("location_100", "location_38", "location_43", "location_46"),
        files=(
            RemoteFile(
                "caltech_camera_traps.json.zip",
                f"{_LILA}/labels/caltech_camera_traps.json.zip",
                most=64 * _MEBIBYTE,
                unpacked=1024 * _MEBIBYTE,
            ),
            RemoteFile(
                "eccv_18_all_images_sm.tar.gz",
                f"{_LILA}/eccv_18_all_images_sm.tar.gz",
                size=6492615601,
                inside="eccv_18_all_images_sm",
            ),
        ),
        arrangement="terra_incognita",
    ),
}
