"""What each register of the simulated plant holds: constants, and raw numbers from the house.

Never encodes: rows of the vendor's table do. Numbers here are raw words' worth (W, tenths of a
percent, hundredths of a kWh). Oddities of real plants are kept: ratings one watt short, phases that
miss their total by a few watts, a charge and a discharge room that exceed the rated energy.
"""

from __future__ import annotations

from typing import Dict, Mapping, Tuple, Union

from bridge.sim.home import Energy, HomeState, House

Number = Union[int, float, str]
Raw = Dict[Tuple[str, str], int]

NEVER_SET = 0xFFFFFFFF
LIMITS = (40032, 40034, 40036, 40038, 40040, 40042, 40044)
OFFSETS = (5, 3, 4)  # phase sums of real plants miss the total by 7 to 19 W


def constants(house: House) -> Mapping[Tuple[str, str], Number]:
    """Return what never moves, keyed by scope and row name, in each row's unit."""
    kwh = house.battery_wh / 1000
    plant: Dict[str, Number] = {
        "system_timezone": house.utc_offset_min, "max_active_power": house.inverter_w,
        "max_apparent_power": house.inverter_w, "running_state": 1,
        "ess_rated_charging_power": house.charge_w, "ess_rated_discharging_power": house.discharge_w,
        "ess_rated_energy_capacity": kwh, "ess_soh": 99.0, "grid_code_rated_frequency": 50.0,
        "grid_code_rated_voltage": 230.0, "available_max_reactive_power": 6000,
        "available_min_reactive_power": 6000, "remote_ems_control_mode": 2,
        "ess_charge_cutoff_soc_setting": 100.0, "ess_discharge_cutoff_soc_setting": house.floor_pct,
        "ess_average_cell_temperature": 24.6, "lvrt_negative_sequence_compensation": 2.0,
    }
    inverter: Dict[str, Number] = {
        "model": "SigenStor EC 10.0 TP", "serial_number": "SIM0000000000247",
        "firmware_version": "V100R001C00SPC115B010", "rated_active_power": house.inverter_w,
        "max_apparent_power": house.inverter_w, "max_active_power": house.inverter_w,
        "max_absorption_power": house.inverter_w, "rated_battery_capacity": kwh,
        "ess_rated_charge_power": house.charge_w, "ess_rated_discharge_power": house.discharge_w,
        "running_state": 1, "max_active_power_adjustment": house.inverter_w,
        "min_active_power_adjustment": -house.inverter_w, "ess_soh": 99.0,
        "ess_average_cell_temperature": 24.6, "ess_max_cluster_temperature": 25.8,
        "ess_min_cluster_temperature": 23.9, "ess_average_cell_voltage": 3.312,
        "ess_max_cell_voltage": 3.329, "ess_min_cell_voltage": 3.301, "rated_grid_voltage": 230.0,
        "rated_grid_frequency": 50.0, "grid_frequency": 49.98, "pcs_temperature": 38.4,
        "output_type": 2, "line_voltage_ab": 402.1, "line_voltage_bc": 401.7, "line_voltage_ca": 402.4,
        "phase_a_voltage": 232.2, "phase_b_voltage": 231.8, "phase_c_voltage": 232.5,
        "power_factor": 0.998, "pack_count": 1, "pv_string_count": 2, "mppt_count": 2,
        "pv1_voltage": 412.5, "pv2_voltage": 405.1, "insulation_resistance": 3.0,
        "startup_time": 1_767_225_600, "shutdown_time": 1_767_222_000,
    }
    vehicle: Dict[str, Number] = {"rated_charging_power": 24_999, "rated_discharging_power": 24_999}
    scopes = (("plant", plant), ("inverter", inverter), ("dc_charger", vehicle))
    return {(scope, name): number for scope, rows in scopes for name, number in rows.items()}


def moving(state: HomeState, house: House, ems_mode: int) -> Raw:
    """Return what moves with the house."""
    ac, grid, load = state.ac_power_w, state.grid_w, state.load_w
    room_wh = house.battery_wh * (1000 - state.soc_permille) // 1000
    stock_wh = house.battery_wh * state.soc_permille // 1000
    raw: Raw = {
        ("plant", "running_state"): state.running, ("inverter", "running_state"): state.running,
        ("plant", "ems_work_mode"): ems_mode, ("plant", "grid_sensor_status"): state.meter,
        ("plant", "grid_active_power"): grid, ("plant", "grid_reactive_power"): -(grid // 60),
        ("plant", "on_off_grid_status"): state.off_grid, ("plant", "ess_soc"): state.soc_permille,
        ("plant", "plant_active_power"): ac, ("plant", "plant_reactive_power"): ac // 90,
        ("plant", "pv_power"): state.pv_w, ("plant", "ess_power"): state.battery_w,
        ("plant", "available_max_active_power"): max(0, house.inverter_w - ac),
        ("plant", "available_min_active_power"): max(0, house.inverter_w + ac),
        ("plant", "ess_available_max_charging_power"): min(house.charge_w, 6 * room_wh),
        ("plant", "ess_available_max_discharging_power"): min(house.discharge_w, 6 * stock_wh),
        ("plant", "ess_available_max_charging_capacity"): (room_wh + 330) // 10,
        ("plant", "ess_available_max_discharging_capacity"): (stock_wh + 340) // 10,
        ("plant", "third_party_pv_power"): state.third_party_pv_w,
        ("plant", "general_load_power"): load, ("plant", "total_load_power"): load,
        ("inverter", "active_power"): ac, ("inverter", "reactive_power"): ac // 90,
        ("inverter", "pv_power"): state.pv_w, ("inverter", "ess_power"): state.battery_w,
        ("inverter", "ess_soc"): state.soc_permille,
        ("inverter", "ess_max_charge_power"): min(house.charge_w, 6 * room_wh),
        ("inverter", "ess_max_discharge_power"): min(house.discharge_w, 6 * stock_wh),
        ("inverter", "ess_available_charge_energy"): room_wh // 10,
        ("inverter", "ess_available_discharge_energy"): stock_wh // 10,
        ("inverter", "pv1_current"): state.pv_w * 50 // 412,
        ("inverter", "pv2_current"): state.pv_w * 50 // 405,
    }
    for phase, offset in zip("abc", OFFSETS):
        raw["plant", f"phase_{phase}_active_power"] = ac // 3 - offset
        raw["plant", f"phase_{phase}_reactive_power"] = ac // 270
        raw["plant", f"grid_phase_{phase}_active_power"] = (grid // 3 - offset) * bool(grid)
        raw["inverter", f"phase_{phase}_current"] = ac * 100 // 696
    raw.update(_vehicle(state.ev_w))
    return raw


def _vehicle(power_w: int) -> Raw:
    state = 3 if power_w > 0 else 8 if power_w < 0 else 0  # charging, discharging, idle
    return {
        ("dc_charger", "vehicle_battery_voltage"): 3900 if power_w else 0,
        ("dc_charger", "charging_current"): max(0, power_w) // 39,
        ("dc_charger", "output_power"): power_w, ("dc_charger", "vehicle_soc"): 610 if power_w else 0,
        ("dc_charger", "running_state"): state,
        ("dc_charger", "discharging_current"): max(0, -power_w) // 39,
    }


def counters(today: Energy, yesterday: Energy, total: Energy) -> Raw:
    """Return the energy counters, in hundredths of a kWh."""
    wh = {
        ("plant", "pv_total_generation"): total.pv, ("plant", "load_daily_consumption"): today.load,
        ("plant", "load_total_consumption"): total.load,
        ("plant", "third_party_pv_total_generation"): total.third_party_pv,
        ("plant", "ess_total_charged_energy"): total.charged,
        ("plant", "ess_total_discharged_energy"): total.discharged,
        ("plant", "evdc_total_charged_energy"): total.ev_charged,
        ("plant", "evdc_total_discharged_energy"): total.ev_discharged,
        ("plant", "grid_total_imported_energy"): total.imported,
        ("plant", "grid_total_exported_energy"): total.exported,
        ("plant", "stats_common_load_total_consumption"): total.load,
        ("plant", "stats_self_pv_total_generation"): total.pv,
        ("plant", "stats_third_party_pv_total_generation"): total.third_party_pv,
        ("plant", "stats_ess_total_charged_energy"): total.charged,
        ("plant", "stats_ess_total_discharged_energy"): total.discharged,
        ("plant", "stats_evdc_total_charged_energy"): total.ev_charged,
        ("plant", "stats_evdc_total_discharged_energy"): total.ev_discharged,
        ("plant", "stats_grid_total_imported_energy"): total.imported,
        ("plant", "stats_grid_total_exported_energy"): total.exported,
        ("plant", "pv_daily_generation"): today.pv,
        ("plant", "pv_previous_day_generation"): yesterday.pv,
        ("inverter", "ess_daily_charge_energy"): today.charged,
        ("inverter", "ess_accumulated_charge_energy"): total.charged,
        ("inverter", "ess_daily_discharge_energy"): today.discharged,
        ("inverter", "ess_accumulated_discharge_energy"): total.discharged,
        ("inverter", "pv_daily_generation"): today.pv, ("inverter", "pv_total_generation"): total.pv,
        ("dc_charger", "session_charged_energy"): today.ev_charged,
        ("dc_charger", "session_discharged_energy"): today.ev_discharged,
        ("dc_charger", "total_charged_energy"): total.ev_charged,
        ("dc_charger", "total_discharged_energy"): total.ev_discharged,
    }
    return {key: int(energy) // 10 for key, energy in wh.items()}


# Reserved since V2.4, yet not empty on SPC115: export and import, of the day and of the lifetime.
HIDDEN_COUNTERS = ((30554, 2), (30556, 4), (30560, 2), (30562, 4))


def hidden_counters(today: Energy, total: Energy) -> Tuple[int, ...]:
    """Return what stands in HIDDEN_COUNTERS, in hundredths of a kWh."""
    return tuple(int(wh) // 10 for wh in (today.exported, total.exported, today.imported, total.imported))
