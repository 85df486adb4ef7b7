"""Compiles the numba kernels before the first client waits for them; the compiled code is kept on disk."""

from __future__ import annotations

from clipdrive.carla_server.camera import Camera
from clipdrive.carla_server.ground import GroundMap
from clipdrive.carla_server.vehicle import Vehicle
from clipdrive.opendrive.reader import read

_ROAD = """<OpenDRIVE><header revMajor="1" revMinor="4"/>
<road name="" length="20" id="1" junction="-1">
 <planView><geometry s="0" x="0" y="0" hdg="0" length="20"><line/></geometry></planView>
 <elevationProfile><elevation s="0" a="0" b="{slope}" c="0" d="0"/></elevationProfile>
 <lanes><laneSection s="0">
  <left><lane id="1" type="driving"><width sOffset="0" a="3.5" b="0" c="0" d="0"/></lane></left>
  <center><lane id="0" type="none"><roadMark sOffset="0" type="broken" color="yellow"/></lane></center>
  <right><lane id="-1" type="driving"><width sOffset="0" a="3.5" b="0" c="0" d="0"/>
   <roadMark sOffset="0" type="solid" color="white"/></lane></right>
 </laneSection></lanes>
</road></OpenDRIVE>"""


def warm_up() -> None:
    """Draw a short road, once level and once uphill, look at it and drive on it.

    Takes half a minute where nothing is compiled yet, a fraction of a second afterwards.
    """
    for slope in (0.0, 0.05):
        ground = GroundMap.from_network(read(_ROAD.format(slope=slope)), 2.5, 1.0, texture_seed=0)
        Camera(8, 8, 90.0).render(ground, 5.0, 1.0, 1.5, -10.0, 0.0, 0.0)
        vehicle = Vehicle()
        vehicle.teleport(5.0, 1.0, 0.5, 0.0, 0.0, 0.0)
        vehicle.step(ground, 0.05)
        ground.height(1.0, 1.0)
        ground.wall_clearance(1.0, 1.0)
